"""Audio that is longer than a piece is run piece by piece, and nothing of it is lost."""

from itertools import pairwise

import numpy as np
import pytest

import composer
from composer.formats.audio.waveform import Audio
from composer.runtime.request import PlannedRun
from composer.runtime.split import split_audio
from tests.fakes import BUNDLE, write

pytestmark = pytest.mark.usefixtures("fakes")

SPLIT = ("  audio: audio\n", "  audio: {type: audio, split: {seconds: 1}}\n")
CLIP = (np.linspace(0, 1, 20_000, dtype=np.float32), 8000)  # 2.5 s
CUTS = (0, 5733, 11_466, 17_199, 20_000)  # it grows louder: quietest is where a piece may end first


@pytest.fixture
def bundle(tmp_path):
    with composer.load(write(tmp_path, BUNDLE, SPLIT, ("$answer.text}", "$answer.text, ids: "
                             "$answer.ids}"))) as loaded:  # fmt: skip
        yield loaded


def alone(bundle, start, stop):
    return bundle.run(audio=(CLIP[0][start:stop], 8000), options=LONG)


def cut(bundle, values):
    return list(split_audio(PlannedRun(bundle.plan(), values, frozenset(), frozenset(), {}), None))


LONG = {"answer": {"max_tokens": 50}}


def test_each_piece_is_run_and_the_answers_are_joined(bundle):
    parts = [alone(bundle, start, stop) for start, stop in pairwise(CUTS)]
    whole = bundle.run(audio=CLIP, options=LONG)
    assert [part.text for part in parts] == ["2869.", "2869.", "2869.", "1403."]
    assert whole.text == "2869. 2869. 2869. 1403."
    assert whole.outputs["ids"].tolist() == [i for p in parts for i in p.outputs["ids"].tolist()]
    assert whole.tokens == sum(part.tokens for part in parts)
    assert whole.finish_reason == "stop"
    assert set(whole.timings) == set(parts[0].timings)


def test_the_pieces_hold_every_sample(bundle):
    taps = bundle.run(audio=CLIP, taps=["audio"]).taps
    assert list(taps) == ["0/audio", "1/audio", "2/audio", "3/audio"]
    np.testing.assert_array_equal(np.concatenate([a.samples for a in taps.values()]), CLIP[0])
    assert taps["2/audio"].source.endswith("from 1.43 s")


def test_one_piece_is_run_as_ever(bundle):
    result = bundle.run(audio=(CLIP[0][:8000], 8000), taps=["soft"])
    assert list(result.taps) == ["soft"]


def test_a_stream_says_what_the_run_says(bundle):
    stream = bundle.stream(audio=CLIP, options=LONG)
    assert "".join(stream) == stream.result.text == "2869. 2869. 2869. 1403."


def test_a_piece_that_was_cut_short_makes_the_answer_short(bundle):
    result = bundle.run(audio=CLIP, options={"answer": {"max_tokens": 4}})
    assert (result.text, result.finish_reason) == ("2869 2869 2869 1403", "length")


def test_one_piece_that_was_cut_short_is_reported_though_others_ended(bundle):
    result = bundle.run(audio=(CLIP[0][:8010][::-1], 8000), options={"answer": {"max_tokens": 4}})
    assert (result.text, result.finish_reason) == ("3803 208.", "length")


@pytest.mark.parametrize(
    ("frames", "pieces"),
    [(7999, [7999]), (8000, [8000]), (8001, [5733, 2268]), (16_000, [5733, 5733, 4534])],
)
def test_where_the_boundary_is(bundle, frames, pieces):
    clip = composer.read_audio((CLIP[0][:frames], 8000))
    found = cut(bundle, {"audio": clip, "line": "hi"})
    assert [piece.values["audio"].frames for piece in found] == pieces


def test_a_failing_piece_fails_the_run(bundle):
    loud = CLIP[0].copy()
    loud[-1] = 1.0
    audio = Audio(loud * np.float32(1e7), 8000, "loud")
    with pytest.raises(composer.ComposerError) as caught:
        bundle.run(audio=audio, feed={"mel": np.full((4, 2), 1e7, np.float32)})
    assert "R500 widen failed: ZeroDivisionError: too loud" in str(caught.value)


def test_audio_is_resampled_before_it_is_cut(bundle):
    clip = (np.sin(np.arange(36_000, dtype=np.float32) / 20) / 2, 16_000)
    pieces = cut(bundle, {"audio": composer.read_audio(clip), "line": "hi"})
    whole = composer.read_audio(clip).resample(8000)
    assert {piece.values["audio"].rate for piece in pieces} == {8000}
    np.testing.assert_array_equal(
        np.concatenate([piece.values["audio"].samples for piece in pieces]), whole.samples
    )


def messages(tmp_path, monkeypatch, *changes):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, BUNDLE, *changes)
    return [str(problem) for problem in composer.check("bundle.yaml").problems]


def test_an_output_that_has_no_end_to_end(tmp_path, monkeypatch):
    found = messages(tmp_path, monkeypatch, SPLIT, ("$answer.text}", "$answer.text, rows: $soft}"))
    assert found == [
        "bundle.yaml:19:37: W225 $audio is split, and 'f32 N D @echo.embed' cannot be joined from "
        "its pieces\n    hint: texts can be joined, and tensors of one axis"
    ]


def test_only_audio_is_split(tmp_path, monkeypatch):
    change = ("default: hi}", "default: hi, split: {seconds: 3}}")
    (found,) = messages(tmp_path, monkeypatch, change)
    assert found == (
        "bundle.yaml:11:35: M135 inputs.line is text and takes no 'split'\n"
        "    hint: only audio is split"
    )


def test_one_input_is_split(tmp_path, monkeypatch):
    more = (SPLIT[0], SPLIT[1] + SPLIT[1].replace("audio:", "other:", 1))
    (found,) = messages(tmp_path, monkeypatch, more)
    assert found == (
        "bundle.yaml:11:24: M137 'audio' is already split, and a task can split only one "
        "input\n    hint: remove one"
    )


def spoken(seconds, rate=8000):
    """Return words of 0.35 s with pauses of 0.1 s, and where the pauses are."""
    samples = np.random.default_rng(3).normal(0, 0.2, seconds * rate).astype(np.float32)
    pauses = [(at, at + rate // 10) for at in range(2800, len(samples) - 800, 3600)]
    for start, stop in pauses:
        samples[start:stop] *= 0.01
    return samples, pauses


def test_a_piece_ends_in_a_pause_and_no_word_is_cut(bundle):
    samples, pauses = spoken(12)
    pieces = cut(bundle, {"audio": composer.read_audio((samples, 8000)), "line": "hi"})
    sizes = [piece.values["audio"].frames for piece in pieces]
    ends = np.cumsum(sizes)[:-1]
    assert max(sizes) <= 8000
    assert all(any(start < end < stop for start, stop in pauses) for end in ends)
    by_the_clock = range(8000, len(samples), 8000)
    assert not all(any(a < end < b for a, b in pauses) for end in by_the_clock)


def test_digital_silence_is_cut_at_the_limit(bundle):
    clip = composer.read_audio((np.zeros(20_000, np.float32), 8000))
    pieces = cut(bundle, {"audio": clip, "line": "hi"})
    assert [piece.values["audio"].frames for piece in pieces] == [7600, 7600, 4800]


STEREO = np.stack([CLIP[0][:8000], CLIP[0][8000:16_000] / 2], axis=1)


def channel(tmp_path, which):
    change = ("  audio: audio\n", f"  audio: {{type: audio, channel: {which}}}\n")
    return composer.load(write(tmp_path, BUNDLE, change))


@pytest.mark.parametrize(("which", "number"), [("left", 0), ("right", 1)])
def test_an_input_takes_one_channel(tmp_path, which, number):
    with channel(tmp_path, which) as bundle:
        result = bundle.run(audio=(STEREO, 8000), taps=["audio"])
    np.testing.assert_array_equal(result.taps["audio"].samples, STEREO[:, number])
    assert result.notes == (f"the {which} channel of 2",)


def test_each_channel_is_run_by_itself(tmp_path):
    with channel(tmp_path, "each") as bundle:
        result = bundle.run(audio=(STEREO, 8000), taps=["audio"], options=LONG)
        one = bundle.run(audio=(STEREO[:, 0], 8000), options=LONG)
    assert result.text == f"{one.text}\n{one.text}"
    assert [result.taps[f"{n}/audio"].source for n in (0, 1)] == [
        "<samples> (left)",
        "<samples> (right)",
    ]
    for number in (0, 1):
        np.testing.assert_array_equal(result.taps[f"{number}/audio"].samples, STEREO[:, number])


def test_a_clip_says_another_channel_than_the_bundle(bundle):
    clip = composer.Clip((STEREO, 8000), channel="right")
    taps = bundle.run(audio=clip, taps=["audio"]).taps
    np.testing.assert_array_equal(taps["audio"].samples, STEREO[:, 1])
    with pytest.raises(composer.ComposerError, match="channel is 'middle'"):
        bundle.run(audio=composer.Clip((STEREO, 8000), channel="middle"))


def test_a_text_has_no_channel(tmp_path, monkeypatch):
    (found,) = messages(tmp_path, monkeypatch, ("default: hi}", "default: hi, channel: left}"))
    assert found.startswith("bundle.yaml:11:35: M135 inputs.line is text and takes no 'channel'")
