"""Audio that is longer than a piece is run piece by piece, and nothing of it is lost."""

import numpy as np
import pytest

import composer
from composer.formats.audio import Audio
from composer.runtime.split import split
from tests.fakes import BUNDLE, write

pytestmark = pytest.mark.usefixtures("fakes")

SPLIT = ("  audio: audio\n", "  audio: {type: audio, split: {seconds: 1}}\n")
CLIP = (np.linspace(0, 1, 20_000, dtype=np.float32), 8000)  # 2.5 s


@pytest.fixture
def bundle(tmp_path):
    with composer.load(write(tmp_path, BUNDLE, SPLIT, ("$answer.text}", "$answer.text, ids: "
                             "$answer.ids}"))) as loaded:  # fmt: skip
        yield loaded


def alone(bundle, start, stop):
    return bundle.run(audio=(CLIP[0][start:stop], 8000), options=LONG)


LONG = {"answer": {"max_tokens": 50}}


def test_each_piece_is_run_and_the_answers_are_joined(bundle):
    parts = [alone(bundle, at, at + 8000) for at in (0, 8000, 16000)]
    whole = bundle.run(audio=CLIP, options=LONG)
    assert [part.text for part in parts] == ["4003.", "4003.", "2003."]
    assert whole.text == "4003. 4003. 2003."
    assert whole.outputs["ids"].tolist() == [i for p in parts for i in p.outputs["ids"].tolist()]
    assert whole.tokens == sum(part.tokens for part in parts)
    assert whole.finish_reason == "stop"
    assert set(whole.timings) == set(parts[0].timings)


def test_the_pieces_hold_every_sample(bundle):
    taps = bundle.run(audio=CLIP, taps=["audio"]).taps
    assert list(taps) == ["0/audio", "1/audio", "2/audio"]
    np.testing.assert_array_equal(np.concatenate([a.samples for a in taps.values()]), CLIP[0])
    assert taps["2/audio"].source.endswith("from 2 s")


def test_one_piece_is_run_as_ever(bundle):
    result = bundle.run(audio=(CLIP[0][:8000], 8000), taps=["soft"])
    assert list(result.taps) == ["soft"]


def test_a_stream_says_what_the_run_says(bundle):
    stream = bundle.stream(audio=CLIP, options=LONG)
    assert "".join(stream) == stream.result.text == "4003. 4003. 2003."


def test_a_piece_that_was_cut_short_makes_the_answer_short(bundle):
    result = bundle.run(audio=CLIP, options={"answer": {"max_tokens": 4}})
    assert (result.text, result.finish_reason) == ("4003 4003 2003", "length")


def test_one_piece_that_was_cut_short_is_told_though_others_ended(bundle):
    result = bundle.run(audio=(CLIP[0][:8010], 8000), options={"answer": {"max_tokens": 4}})
    assert (result.text, result.finish_reason) == ("4003 8.", "length")


@pytest.mark.parametrize(
    ("frames", "pieces"),
    [(7999, [7999]), (8000, [8000]), (8001, [8000, 1]), (16_000, [8000, 8000])],
)
def test_where_the_boundary_is(bundle, frames, pieces):
    clip = composer.read_audio((CLIP[0][:frames], 8000))
    found = split(bundle.plan(), {"audio": clip, "said": "hi"})
    assert [piece["audio"].frames for piece in found] == pieces


def test_a_failing_piece_fails_the_run(bundle):
    loud = CLIP[0].copy()
    loud[-1] = 1.0
    audio = Audio(loud * np.float32(1e7), 8000, "loud")
    with pytest.raises(composer.ComposerError) as caught:
        bundle.run(audio=audio, feed={"mel": np.full((4, 2), 1e7, np.float32)})
    assert "R500 widen failed: ZeroDivisionError: too loud" in str(caught.value)


def test_audio_is_resampled_before_it_is_cut(bundle):
    clip = (np.sin(np.arange(36_000, dtype=np.float32) / 20) / 2, 16_000)
    plan = bundle.plan()
    pieces = split(plan, {"audio": composer.read_audio(clip), "said": "hi"})
    whole = composer.read_audio(clip).resample(8000)
    assert [piece["audio"].rate for piece in pieces] == [8000] * 3
    np.testing.assert_array_equal(
        np.concatenate([piece["audio"].samples for piece in pieces]), whole.samples
    )


def said(tmp_path, monkeypatch, *changes):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, BUNDLE, *changes)
    return [str(problem) for problem in composer.check("bundle.yaml").problems]


def test_an_output_that_has_no_end_to_end(tmp_path, monkeypatch):
    found = said(tmp_path, monkeypatch, SPLIT, ("$answer.text}", "$answer.text, rows: $soft}"))
    assert found == [
        "bundle.yaml:19:37: W225 $audio is split, and 'f32 N D @echo.embed' cannot be put together "
        "from its pieces\n    hint: texts can, and tensors of one axis"
    ]


def test_only_audio_is_split(tmp_path, monkeypatch):
    change = ("default: hi}", "default: hi, split: {seconds: 3}}")
    (found,) = said(tmp_path, monkeypatch, change)
    assert found == (
        "bundle.yaml:11:35: M135 inputs.said is text and takes no 'split'\n"
        "    hint: only audio is split"
    )


def test_one_input_is_split(tmp_path, monkeypatch):
    more = (SPLIT[0], SPLIT[1] + SPLIT[1].replace("audio:", "other:", 1))
    (found,) = said(tmp_path, monkeypatch, more)
    assert found == (
        "bundle.yaml:11:24: M137 'audio' is split already, and a task is run on the pieces of one "
        "input\n    hint: remove one"
    )
