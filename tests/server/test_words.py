"""Times of words over HTTP: with a transcription, and of a text."""

import json

import openai
import pytest

import composer
from composer.jobs.align import alignment_json
from composer.jobs.words import word_json
from tests.reference.forced_aligner import Aligner, release
from tests.server.gates import wav
from tests.server.serving import serving

MODEL, ALIGNER = "mega-asr-mini", "org/aligner"
ALIGNMENTS = "/v1/audio/alignments"


@pytest.fixture(scope="module")
def aligner(tmp_path_factory):
    with composer.load(release(tmp_path_factory.mktemp("words") / "release", Aligner())) as bundle:
        yield bundle


@pytest.fixture(scope="module")
def running(bundles, aligner):
    with serving({MODEL: bundles[MODEL], ALIGNER: aligner}) as served:
        yield served


@pytest.fixture
def words_client(running):
    with openai.OpenAI(base_url=running.url, api_key="none", max_retries=0) as client:
        yield client


def test_openais_client_reads_words(words_client, bundles, aligner, clip):
    made = words_client.audio.transcriptions.create(
        model=MODEL, file=clip, response_format="verbose_json", timestamp_granularities=["word"]
    )
    (want,) = composer.transcribe(bundles[MODEL], [clip], align=aligner)
    assert [each.word for each in made.words] == want.text.split()
    assert [(each.start, each.end) for each in made.words] == [
        (round(word.start, 3), round(word.end, 3)) for word in want.words
    ]
    first = made.words[0].model_dump()
    assert (first["source"], first["resolution"]) == ("qwen3-forced-aligner", 0.08)
    assert made.segments[0].text == want.text


def test_without_the_granularity_there_are_none(words_client, clip):
    made = words_client.audio.transcriptions.create(
        model=MODEL, file=clip, response_format="verbose_json"
    )
    assert made.words is None


def test_a_stream_ends_with_the_words(words_client, bundles, aligner, clip):
    *deltas, done = words_client.audio.transcriptions.create(
        model=MODEL, file=clip, stream=True, timestamp_granularities=["word"]
    )
    (want,) = composer.transcribe(bundles[MODEL], [clip], align=aligner)
    assert "".join(each.delta for each in deltas) == done.text == want.text
    assert done.words == [word_json(word) for word in want.words]
    assert done.segments[0]["text"] == want.text
    nodes = set(bundles[MODEL].checked.graphs["default"].nodes)
    assert set(done.timings) == nodes


def test_words_go_with_no_other_answer(running, clip):
    for fields in ([], [("response_format", "text"), ("stream", "false")]):
        asked = [("model", MODEL), ("timestamp_granularities[]", "word"), *fields]
        status, _, body = running.post(asked, clip)
        assert (status, body["error"]["param"]) == (400, "timestamp_granularities")
        assert body["error"]["message"] == (
            "timestamp_granularities go with response_format=verbose_json, or with a stream"
        )


def test_a_language_that_is_not_aligned_is_refused_before_the_run(words_client, clip):
    with pytest.raises(openai.BadRequestError) as caught:
        words_client.audio.transcriptions.create(
            model=MODEL, file=clip, language="ar", response_format="verbose_json",
            timestamp_granularities=["word"],
        )  # fmt: skip
    assert (caught.value.param, caught.value.code) == ("timestamp_granularities", "R527")


@pytest.mark.parametrize("model", [[("model", ALIGNER)], []])
def test_alignments_are_those_of_composer_align(running, aligner, clip, model):
    text = "nine one eight"
    status, _, body = running.post([*model, ("text", text)], clip, ALIGNMENTS)
    assert status == 200
    assert body == json.loads(json.dumps(alignment_json(composer.align(aligner, clip, text))))


@pytest.mark.parametrize(
    ("fields", "status", "param", "code"),
    [
        ([], 400, "text", None),
        ([("text", "?")], 400, "text", "R554"),
        ([("text", "a"), ("language", "ar")], 400, "language", "R527"),
        ([("text", "a"), ("model", MODEL)], 404, "model", "not_supported"),
        ([("text", "a"), ("model", "x")], 404, "model", "model_not_found"),
        ([("text", "a"), ("txt", "b")], 400, "txt", "unknown_parameter"),
    ],
)
def test_what_cannot_be_aligned_is_refused(running, clip, fields, status, param, code):
    found, _, body = running.post(fields, clip, ALIGNMENTS)
    error = body["error"]
    assert (found, error["param"]) == (status, param)
    if code:
        assert error["code"] == code


def test_audio_that_is_too_long_is_refused(running):
    status, _, body = running.post([("text", "a")], wav(5.0), ALIGNMENTS)
    assert (status, body["error"]["code"]) == (400, "R557")


def test_without_an_aligner_nothing_is_aligned(served, clip):
    status, _, body = served.post([("text", "a")], clip, ALIGNMENTS)
    assert status == 404
    assert body["error"]["message"] == "no aligner is served"
