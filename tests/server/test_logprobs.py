"""`include[]=logprobs`: the tokens of a text with their log-probabilities."""

import math

import numpy as np
import pytest

import composer
from composer.sources.shipped import shipped_folder
from tests.fakes import BUNDLE, write
from tests.server.serving import serving
from tests.server.test_streaming import events

MODEL = "mega-asr-mini"


@pytest.fixture(scope="module")
def wanted(bundles, clip):
    """Return the segment that `composer transcribe` makes, and its tokens one by one."""
    (made,) = composer.transcribe(bundles[MODEL], [clip], logprobs=True)
    (segment,) = made.segments
    return segment


def test_tokens_are_together_the_text(client, clip, wanted):
    made = client.audio.transcriptions.create(model=MODEL, file=clip, include=["logprobs"])
    assert "".join(each.token for each in made.logprobs) == made.text == wanted.text
    assert b"".join(bytes(map(int, each.bytes)) for each in made.logprobs) == made.text.encode()
    own = [p for p, end in zip(wanted.logprobs, wanted.text_ends, strict=True) if end > 0]
    np.testing.assert_allclose([each.logprob for each in made.logprobs], own, atol=1e-6)
    assert all(each.logprob <= 0 and math.isfinite(each.logprob) for each in made.logprobs)


def test_words_and_tokens_agree(bundles, clip, wanted):
    """A word's logarithm is the sum of those of its tokens."""
    total = sum(word.logprob for word in wanted.words)
    own = [p for p, end in zip(wanted.logprobs, wanted.text_ends, strict=True) if end > 0]
    assert total == pytest.approx(sum(own), abs=0.05)  # the token that ends the text is no word's


def test_a_stream_ends_with_them(served, clip, wanted):
    fields = [("model", MODEL), ("stream", "true"), ("include[]", "logprobs")]
    *_, (_, done) = events(served.post(fields, clip)[2])
    assert "".join(each["token"] for each in done["logprobs"]) == done["text"] == wanted.text


def test_without_it_there_are_none(served, clip):
    _, _, body = served.post([("model", MODEL)], clip)
    assert "logprobs" not in body


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([("include[]", "words")], "'words' cannot be included: logprobs can"),
        (
            [("include[]", "logprobs"), ("response_format", "verbose_json")],
            "logprobs go with response_format=json alone",
        ),
        (
            [("include[]", "logprobs"), ("response_format", "text")],
            "logprobs go with response_format=json alone",
        ),
    ],
)
def test_what_cannot_be_included_is_refused(served, clip, fields, message):
    status, _, body = served.post([("model", MODEL), *fields], clip)
    assert (status, body["error"]["param"]) == (400, "include")
    assert body["error"]["message"] == message


def test_a_decoder_without_them_says_so(tmp_path, fakes, audio):
    with composer.load(write(tmp_path, BUNDLE)) as bundle, serving({"m": bundle}) as running:
        status, _, body = running.post([("model", "m"), ("include[]", "logprobs")], audio)
    assert (status, body["error"]["message"]) == (400, "m gives no logprobs")


def test_a_language_before_the_text_is_no_token(tmp_path, clip):
    source = shipped_folder("bundles") / MODEL
    text = (source / "bundle.yaml").read_text().replace("default: English}", 'default: ""}')
    (tmp_path / "bundle.yaml").write_text(text)
    opened = composer.load(tmp_path / "bundle.yaml", sources={"repo": source})
    with opened as bundle, serving({"own": bundle}) as running:
        body = running.post([("model", "own"), ("include[]", "logprobs")], clip)[2]
    assert "".join(each["token"] for each in body["logprobs"]) == body["text"]
    assert "warnings" not in body
