import numpy as np
import pytest

from composer import load
from tests.fakes import BUNDLE, write

pytestmark = pytest.mark.usefixtures("fakes")
CLIP = (np.arange(8, dtype=np.float32), 8000)
LONG = "{embeds: $embeds, end: abcdef, max_tokens: 20}}"


@pytest.fixture
def bundle(tmp_path):
    change = ("{embeds: $embeds}}", LONG)
    with load(write(tmp_path, BUNDLE, change, ("outputs: {", "outputs: {ids: $answer.ids, "))) as b:
        yield b


def test_a_stream_that_is_stopped_has_the_result_of_what_was_read(bundle):
    stream = bundle.stream(audio=CLIP)
    assert [next(stream) for _ in range(3)] == ["7", "a", "b"]
    stream.stop()
    assert list(stream) == []
    assert stream.result.text == "7ab"
    assert stream.result.outputs["ids"].tolist() == [ord(letter) for letter in "7ab"]
    assert stream.result.finish_reason == "cancelled"
    assert stream.result.tokens == 3


def test_a_stream_that_is_stopped_before_it_begins_has_one_token(bundle):
    stream = bundle.stream(audio=CLIP)
    stream.stop()
    assert list(stream) == ["7"]
    assert stream.result.finish_reason == "cancelled"


def test_a_stream_that_has_ended_cannot_be_stopped(bundle):
    stream = bundle.stream(audio=CLIP)
    assert "".join(stream) == "7abcdef"
    stream.stop()
    assert stream.result.finish_reason == "stop"


def test_a_stream_over_pieces_is_stopped_in_the_piece_that_it_is_at(tmp_path):
    """What is still to come is not run, and what was read is whole."""
    split = ("audio: audio", "audio: {type: audio, split: {seconds: 1}}")
    path = write(tmp_path, BUNDLE, split, ("{embeds: $embeds}}", LONG))
    clip = (np.ones(24_000, np.float32) / 2, 8000)
    with load(path) as bundle:
        whole = bundle.run(audio=clip).text.split()
        assert len(whole) == 4
        stream = bundle.stream(audio=clip)
        found = [next(stream) for _ in range(len(whole[0]) + 2)]
        stream.stop()
        assert list(stream) == []
        assert "".join(found) == stream.result.text == f"{whole[0]} {whole[1][:2]}"
        assert stream.result.finish_reason == "cancelled"
