"""Transcriptions through OpenAI's own client: every field, every format, every refusal."""

import asyncio
import io
import json

import openai
import pytest

from composer.jobs.output_format import output_format
from composer.jobs.output_formats.verbose_json import verbose_object
from tests.server.conftest import CLIP
from tests.server.serving import form

MODEL = "mega-asr-mini"


def create(client, clip, **fields):
    return client.audio.transcriptions.create(**{"model": MODEL, "file": clip, **fields})


def test_json_has_the_text_of_transcribe_its_language_and_its_tokens(client, clip, expected):
    made = create(client, clip)
    assert made.text == expected.text
    assert [each.code for each in made.languages] == ["en"]
    assert made.usage.type == "tokens"
    assert made.usage.input_tokens == expected.prompt_tokens > 20
    assert made.usage.output_tokens == expected.tokens
    assert made.usage.total_tokens == expected.prompt_tokens + expected.tokens


@pytest.mark.parametrize(("format", "ours"), [("srt", "srt"), ("vtt", "vtt"), ("text", "txt")])
def test_plain_formats_are_the_files_of_transcribe(client, clip, expected, format, ours):
    made = client.audio.transcriptions.with_raw_response.create(
        model=MODEL, file=clip, response_format=format
    )
    assert made.text == output_format(ours).file(expected)
    assert made.headers["content-type"] == "text/plain; charset=utf-8"


def test_verbose_json_is_the_file_of_transcribe(client, clip, expected):
    made = client.audio.transcriptions.with_raw_response.create(
        model=MODEL, file=clip, response_format="verbose_json", timestamp_granularities=["segment"]
    )
    assert json.loads(made.text) == json.loads(json.dumps(verbose_object(expected)))
    read = made.parse()
    assert (read.language, read.duration) == ("english", pytest.approx(1.485, abs=1e-3))
    assert read.segments[0].avg_logprob == pytest.approx(
        sum(expected.segments[0].logprobs) / expected.tokens, abs=1e-6
    )


def test_a_file_comes_in_any_way_that_the_client_sends_it(client, clip, expected):
    ways = (
        CLIP,
        CLIP.open("rb"),
        io.BytesIO(clip),
        ("clip.wav", clip),
        ("x", clip, "text/plain"),
        clip,
    )
    for file in ways:
        assert create(client, file).text == expected.text
    ways[1].close()


def test_the_same_through_the_asynchronous_client(served, clip, expected):
    async def both():
        async with openai.AsyncOpenAI(base_url=served.url, api_key="x") as client:
            whole = await create(client, clip)
            stream = await create(client, clip, stream=True)
            return whole.text, [each async for each in stream]

    text, events = asyncio.run(both())
    assert text == events[-1].text == expected.text


@pytest.mark.parametrize("language", ["en", "English", "english"])
def test_a_language_is_a_code_or_a_name(client, clip, expected, language):
    assert create(client, clip, language=language).text == expected.text
    assert create(client, clip, extra_body={"languages": [language]}).text == expected.text


def test_a_language_is_that_of_the_result(client, bundles, clip):
    found = bundles[MODEL].run(audio=clip, language="Dutch")
    made = create(client, clip, language="nl", response_format="verbose_json")
    assert (made.text, made.language) == (found.text, "dutch")


def test_words_to_expect_are_the_context_of_the_bundle(client, bundles, clip):
    made = create(client, clip, prompt="numbers", extra_body={"keywords": ["one", "two"]})
    found = bundles[MODEL].run(audio=clip, context="numbers\none, two", taps=["asked.ids"])
    assert made.text == found.text
    assert made.usage.input_tokens == len(found.taps["asked.ids"])


def test_options_of_the_decoder(client, bundles, clip):
    short = create(client, clip, extra_body={"max_tokens": 3})
    assert short.usage.output_tokens == 3
    assert short.warnings == ["the text was cut after 3 tokens: raise max_tokens"]
    sampled = create(client, clip, temperature=1, extra_body={"seed": 5})
    options = {"answer": {"temperature": 1.0, "seed": 5}}
    assert sampled.text == bundles[MODEL].run(audio=clip, options=options).text


def test_pauses_are_found_by_the_bundles_own_detector(client, clip):
    wanted = create(client, clip).text
    for strategy in ("auto", {"type": "server_vad"}):
        assert create(client, clip, chunking_strategy=strategy).text == wanted
    written = {"chunking_strategy": '{"type": "server_vad"}'}
    assert create(client, clip, extra_body=written).text == wanted


def test_models_are_listed_and_found_by_name(client):
    listed = client.models.list().data
    assert [each.id for each in listed] == ["mega-asr-mini", "elderwise-mini", "org/mini"]
    assert {(each.object, each.owned_by) for each in listed} == {("model", "composer")}
    assert client.models.retrieve("org/mini").id == "org/mini"
    with pytest.raises(openai.NotFoundError) as refused:
        client.models.retrieve("none")
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize("model", ["elderwise-mini", "org/mini"])
def test_any_model_answers_by_its_name(client, clip, model):
    assert create(client, clip, model=model).text == "nine one eight one one eight three"


WRONG = {
    "temperature": [({"temperature": each}, None) for each in (3, -1, float("nan"))],
    "language": [({"language": "xx"}, "R527")],
    "languages": [({"extra_body": {"languages": ["en", "fr"]}}, "not_supported")],
    "response_format": [
        ({"response_format": "yaml"}, None),
        ({"response_format": "diarized_json"}, "not_supported"),
    ],
    "timestamp_granularities": [
        ({"timestamp_granularities": ["segment"]}, None),
        ({"timestamp_granularities": ["line"], "response_format": "verbose_json"}, None),
        ({"timestamp_granularities": ["word"], "response_format": "verbose_json"}, "not_supported"),
    ],
    "include": [({"include": ["words"]}, "not_supported")],
    "chunking_strategy": [
        ({"chunking_strategy": {"type": "server_vad", "threshold": 0.5}}, "not_supported"),
        ({"extra_body": {"chunking_strategy": '{"type": "speakers"}'}}, "not_supported"),
    ],
    "known_speaker_names": [
        ({"extra_body": {"known_speaker_names": ["a"]}}, "not_supported"),
    ],
    "stream": [({"stream": True, "response_format": "srt"}, "not_supported")],
    "seed": [({"extra_body": {"seed": "x"}}, None), ({"extra_body": {"seed": 10**30}}, None)],
    "max_tokens": [({"extra_body": {"max_tokens": 10**12}}, None)],
    "sed": [({"extra_body": {"sed": 1}}, "unknown_parameter")],
    "nested": [({"extra_body": {"nested": {"a": 1}}}, "unknown_parameter")],
    "task": [({"extra_body": {"task": "sing"}}, "R543")],
}


@pytest.mark.parametrize("param", WRONG)
def test_what_is_wrong_is_refused_by_name(client, clip, param):
    for fields, code in WRONG[param]:
        with pytest.raises(openai.BadRequestError) as refused:
            create(client, clip, **fields)
        error = refused.value
        assert (error.param, error.code) == (param, code), fields
        assert error.type == "invalid_request_error"
        assert set(error.body) == {"message", "type", "param", "code"}
        assert error.request_id.startswith("req_")


def test_texts_of_refusals(client, clip):
    cases = (
        ({"extra_body": {"sed": 1}}, "there is no field 'sed' here; did you mean 'seed'?"),
        ({"response_format": "jsno"}, "did you mean 'json'?"),
        (
            {"chunking_strategy": {"type": "server_vad", "threshold": 0.5}},
            "mega-asr-mini finds pauses by a detector of its own: leave 'threshold' out",
        ),
        ({"language": "klingon"}, "'klingon' is not a language of this model (languages: Arabic"),
        ({"model": "none"}, "there is no model 'none'; this server has mega-asr-mini"),
        ({"file": b"junk"}, "this is not a readable audio file but text"),
        (
            {"model": "elderwise-mini", "language": "en"},
            "elderwise-mini takes no language: leave it out",
        ),
        ({"model": "elderwise-mini", "prompt": "x"}, "elderwise-mini takes no words to expect"),
    )
    for fields, message in cases:
        with pytest.raises(openai.APIStatusError) as refused:
            create(client, clip, **fields)
        assert message in refused.value.body["message"]


def test_audio_that_cannot_be_read_is_the_clients_fault(client):
    for audio, code in ((b"junk", "S481"), (b"fLaC", "S483"), (CLIP.read_bytes()[:9000], "S489")):
        with pytest.raises(openai.BadRequestError) as refused:
            create(client, audio)
        assert (refused.value.param, refused.value.code) == ("file", code)


def test_a_bundle_that_does_not_translate_says_so(client, clip):
    with pytest.raises(openai.NotFoundError) as refused:
        client.post(
            "/audio/translations",
            body={"model": MODEL},
            files={"file": clip},
            options={"headers": {"content-type": "multipart/form-data"}},
            cast_to=dict,
        )
    assert refused.value.code == "not_supported"


def test_fields_may_come_after_the_file(served, clip, expected):
    body = form([("model", MODEL), ("language", "en")], clip, file_first=True)
    kind = {"content-type": "multipart/form-data; boundary=composer-test-boundary"}
    status, _, made = served.send("POST", "/v1/audio/transcriptions", body, kind)
    assert (status, made["text"]) == (200, expected.text)


def test_what_is_missing_is_named(served, clip):
    for fields, file, param in (([], clip, "model"), ([("model", MODEL)], b"", "file")):
        status, _, made = served.post(fields, file)
        assert (status, made["error"]["param"]) == (400, param)
        assert f"'{param}' is missing" in made["error"]["message"]


def test_other_paths_and_methods_are_errors_of_the_api(served):
    cases = (
        ("GET", "/v1/nothing", 404, "unknown_url"),
        ("GET", "/v1/models/", 404, "model_not_found"),
        ("GET", "/v1/audio/transcriptions", 405, "method_not_allowed"),
    )
    for method, path, status, code in cases:
        found, headers, body = served.send(method, path)
        assert (found, body["error"]["code"]) == (status, code)
        assert headers["x-request-id"].startswith("req_")


def test_an_id_of_a_request_comes_back(served):
    for given, same in (("abc-1", True), ("x" * 200, False), ("a\tb", False)):
        found = served.send("GET", "/health", headers={"x-request-id": given})[1]["x-request-id"]
        assert (found == given) == same
