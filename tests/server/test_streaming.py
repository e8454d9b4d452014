"""Text as it comes: server-sent events as OpenAI's client reads them, and as they are sent."""

import json
import time

import openai
import pytest

import composer
from composer.sources.shipped import shipped_folder
from tests.fakes import BUNDLE, write
from tests.server.gates import GATED, gate
from tests.server.serving import serving

__all__ = ["gate"]

MODEL = "mega-asr-mini"


def events(body):
    """Return the names and the data of events."""
    found = []
    for block in body.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if lines:
            found.append((lines.get("event"), json.loads(lines["data"])))
    return found


@pytest.mark.parametrize("model", [MODEL, "elderwise-mini"])
def test_deltas_are_together_the_text_that_is_done(client, clip, model):
    given = list(client.audio.transcriptions.create(model=model, file=clip, stream=True))
    *deltas, done = given
    assert len(deltas) > 3
    assert {each.type for each in deltas} == {"transcript.text.delta"}
    assert done.type == "transcript.text.done"
    assert "".join(each.delta for each in deltas) == done.text
    whole = client.audio.transcriptions.create(model=model, file=clip)
    assert (done.text, done.usage.total_tokens) == (whole.text, whole.usage.total_tokens)


def test_a_language_that_the_model_names_is_no_text(tmp_path, clip):
    """Qwen3-ASR writes `language English<asr_text>` first where no language is given."""
    source = shipped_folder("bundles") / MODEL
    text = (source / "bundle.yaml").read_text().replace("default: English}", 'default: ""}')
    (tmp_path / "bundle.yaml").write_text(text)
    with composer.load(tmp_path / "bundle.yaml", sources={"repo": source}) as bundle:
        assert bundle.run(audio=clip, taps=["answer.text"]).taps["answer.text"].startswith("lang")
        with serving({"own": bundle}) as running:
            body = running.post([("model", "own"), ("stream", "true")], clip)[2]
    *deltas, (_, done) = events(body)
    assert "".join(data["delta"] for _, data in deltas) == done["text"]
    assert done["text"].startswith("nine")
    assert done["languages"] == [{"code": "en"}]


def test_the_bytes_of_a_stream(served, clip):
    status, headers, body = served.post([("model", MODEL), ("stream", "true")], clip)
    assert status == 200
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["cache-control"] == "no-cache"
    assert headers["x-accel-buffering"] == "no"
    found = events(body)
    assert [name for name, _ in found] == [data["type"] for _, data in found]
    assert b"[DONE]" not in body


def test_what_fails_before_the_first_text_has_a_status(client):
    with pytest.raises(openai.BadRequestError) as refused:
        client.audio.transcriptions.create(model=MODEL, file=b"junk", stream=True)
    assert refused.value.code == "S481"


def test_what_fails_later_is_an_event(tmp_path, gate, audio):
    gate.fails = True
    with composer.load(write(tmp_path, GATED)) as bundle, serving({"m": bundle}) as running:
        gate.open.set()
        with openai.OpenAI(base_url=running.url, api_key="x", max_retries=0) as client:
            stream = client.audio.transcriptions.create(model="m", file=audio, stream=True)
            with pytest.raises(openai.APIError) as failed:
                list(stream)
    assert failed.value.code == "R500"
    assert "no more" in failed.value.message


def test_a_bundle_whose_text_is_not_certain_before_its_end_has_one_delta(tmp_path, fakes, audio):
    shout = (
        ("  echo: {use", "  upper: {use: fake.upper}\n  echo: {use"),
        (
            "outputs: {text: $answer.text}",
            "  loud: {run: upper, with: {text: $answer.text}}\noutputs: {text: $loud}",
        ),
    )
    with composer.load(write(tmp_path, BUNDLE, *shout)) as bundle, serving({"m": bundle}) as served:
        found = events(served.post([("model", "m"), ("stream", "true")], audio)[2])
    assert [data["type"] for _, data in found] == ["transcript.text.delta", "transcript.text.done"]
    assert found[0][1]["delta"] == found[1][1]["text"]


def test_comments_keep_a_silent_stream_open(tmp_path, gate, audio):
    with (
        composer.load(write(tmp_path, GATED)) as bundle,
        serving({"m": bundle}, keep_alive=0.05) as running,
    ):
        gate.after = 1

        def opens():
            time.sleep(0.5)
            gate.open.set()

        gate.when_waiting(opens)
        status, _, body = running.post([("model", "m"), ("stream", "true")], audio)
    assert status == 200
    assert body.count(b": keep-alive\n\n") >= 1
    assert events(body)[-1][1]["type"] == "transcript.text.done"
