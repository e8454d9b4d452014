"""Segments of a clip with their times, and the formats that are made of them."""

import dataclasses
import json
import zlib
from itertools import pairwise

import numpy as np
import pytest
import soundfile

import composer
from composer.cli import main
from composer.jobs.output_format import output_format
from composer.jobs.transcription import SpokenSegment, Transcription
from tests.fakes import BUNDLE, write

pytestmark = pytest.mark.usefixtures("fakes")

RATE = 8000
CUTS = (0, 5733, 11_466, 17_199, 20_000)  # the clip grows louder: pieces end as soon as they may
TEXTS = ["2869.", "2869.", "2869.", "1403."]
LONG = {"answer": {"max_tokens": 50}}


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.linspace(0, 1, 20_000, dtype=np.float32), RATE, subtype="FLOAT")
    return path


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "bundle"
    folder.mkdir()
    split = ("  audio: audio\n", "  audio: {type: audio, split: {seconds: 1}}\n")
    return write(folder, BUNDLE, split)


def spoken(*segments, text="all"):
    return Transcription("a.wav", text, segments=tuple(SpokenSegment(*each) for each in segments))


def test_pieces_of_a_clip_are_its_segments(bundle, clip):
    (found,) = composer.transcribe(bundle, [clip], options=LONG)
    assert [segment.text for segment in found.segments] == TEXTS
    times = [(segment.start, segment.end) for segment in found.segments]
    want = [(start / RATE, stop / RATE) for start, stop in pairwise(CUTS)]
    np.testing.assert_allclose(times, want, rtol=0, atol=1e-9)
    assert " ".join(segment.text for segment in found.segments) == found.text


def test_a_clip_that_is_not_split_is_one_segment(bundle, clip, tmp_path):
    soundfile.write(clip, np.zeros(4000, np.float32), RATE)
    (found,) = composer.transcribe(bundle, [clip], options=LONG)
    (segment,) = found.segments
    assert (segment.start, segment.end, segment.text) == (0.0, 0.5, found.text)


def test_each_channel_has_segments_of_its_own(tmp_path, clip):
    folder = tmp_path / "stereo"
    folder.mkdir()
    each = ("  audio: audio\n", "  audio: {type: audio, channel: each, split: {seconds: 1}}\n")
    bundle = write(folder, BUNDLE, each)
    left = np.linspace(0, 1, 12_000, dtype=np.float32)
    soundfile.write(clip, np.stack([left, left], axis=1), RATE, subtype="FLOAT")
    (found,) = composer.transcribe(bundle, [clip], options=LONG)
    assert [segment.channel for segment in found.segments] == [0, 1] * (len(found.segments) // 2)
    starts = [segment.start for segment in found.segments]
    assert starts == sorted(starts)
    assert max(segment.end for segment in found.segments) == 1.5


SRT = """\
1
00:00:00,000 --> 00:00:01,000
first -> line
second

2
01:02:05,000 --> 01:02:05,001
late
"""


def test_srt():
    found = output_format("srt").file(
        spoken(
            (0.0, 0.9999, "first --> line\n\n  second  "),
            (1.0, 2.0, "  \n"),
            (3725.0, 3725.0, "late"),
        )
    )
    assert found == SRT


def test_vtt():
    found = output_format("vtt").file(spoken((0.0, 1.2345, "a <b> & c")))
    assert found == "WEBVTT\n\n00:00:00.000 --> 00:00:01.234\na &lt;b&gt; &amp; c\n"
    assert output_format("vtt").file(spoken()) == "WEBVTT\n"


def test_tsv():
    found = output_format("tsv").file(spoken((0.0, 1.5, "a\tb\nc"), (1.5, 2.0, "d")))
    assert found == "start\tend\ttext\n0\t1500\ta b c\n1500\t2000\td\n"


@pytest.mark.parametrize("name", ["srt", "vtt", "tsv"])
def test_a_clip_that_failed_has_no_file(name):
    assert output_format(name).file(Transcription("a.wav")) is None


def test_a_time_is_rounded_once():
    """vLLM truncates 1.9999 s to ,999."""
    assert "00:00:02,000" in output_format("srt").file(spoken((0.0, 1.9999, "x")))


def test_the_command_writes_a_file_for_each_clip(bundle, clip, tmp_path, capsys):
    call = ["transcribe", str(bundle), str(clip), "-f", "srt", "--set", "answer.max_tokens=50"]
    assert main(call) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("1\n00:00:00,000 --> 00:00:00,717\n2869.\n\n2\n00:00:00,717 --> ")
    assert main([*call, "-o", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out/a.srt").read_text() == printed


def test_several_clips_want_a_folder(bundle, clip, capsys):
    assert main(["transcribe", str(bundle), str(clip), str(clip), "-f", "vtt"]) == 2
    assert "vtt holds one clip: give -o DIR for a file of each" in capsys.readouterr().err


def test_json_has_the_segments(bundle, clip):
    from composer.jobs.output_format import transcription_json

    (found,) = composer.transcribe(bundle, [clip], options=LONG)
    assert transcription_json(found)["segments"][3] == {
        "start": 2.15, "end": 2.5, "text": "1403.", "channel": 0, "silent": False,
        "suspicious": [],
    }  # fmt: skip


def test_verbose_json_has_every_key_of_the_api(bundle, clip, tmp_path):
    (found,) = composer.transcribe(bundle, [clip], options=LONG)
    made = json.loads(output_format("verbose_json").file(found))
    assert (made["task"], made["language"], made["duration"]) == ("transcribe", "unknown", 2.5)
    assert made["text"] == found.text
    assert [segment["text"] for segment in made["segments"]] == TEXTS
    second = made["segments"][1]
    size = len(second["text"]) / len(zlib.compress(second["text"].encode()))
    assert second == {
        "id": 1,
        "seek": round(CUTS[1] / RATE * 100),
        "start": round(CUTS[1] / RATE, 3),
        "end": round(CUTS[2] / RATE, 3),
        "text": "2869.",
        "tokens": [ord(letter) for letter in "2869."],
        "temperature": 0.0,
        "avg_logprob": None,
        "compression_ratio": size,
        "no_speech_prob": None,
        "channel": 0,
        "suspicious": [],
    }
    assert made["usage"] == {"type": "duration", "seconds": 2.5}
    assert main(["transcribe", str(bundle), str(clip), "-f", "verbose_json"]) == 0


def test_verbose_json_has_means_of_probabilities_and_names_of_languages():
    segment = SpokenSegment(0.0, 1.0, "hi", 0, (3, 4), (-0.5, -0.25))
    each = Transcription("a.wav", "hi", segments=(segment,), language="en", temperature=0.5)
    made = json.loads(output_format("verbose_json").file(each))
    assert made["language"] == "english"
    assert made["segments"][0]["avg_logprob"] == -0.375
    assert made["segments"][0]["temperature"] == 0.5
    translated = dataclasses.replace(each, task="translate")
    assert json.loads(output_format("verbose_json").file(translated))["task"] == "translate"
    assert output_format("verbose_json").file(Transcription("a.wav")) is None
