"""The audio of segments, of clips that are kept and of clips that are decoded as they are read."""

import tracemalloc

import numpy as np
import pytest
import soundfile

from composer.formats.audio.clip import Clip
from composer.jobs import segment_audio
from composer.jobs.segment_audio import SegmentAudio
from composer.jobs.transcription import SpokenSegment

RATE = 16_000
SPANS = ((0.0, 1.25), (1.25, 1.25), (2.0, 3.00003), (3.5, 9.0))


@pytest.fixture
def stereo(tmp_path):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (9 * RATE, 2)).astype(np.float32)
    soundfile.write(tmp_path / "clip.wav", samples, RATE, "FLOAT")
    return tmp_path / "clip.wav", samples


@pytest.mark.parametrize("kept", [0.5, 60.0])
@pytest.mark.parametrize("channel", ["mix", "left", "each"])
def test_segments_are_parts_of_the_clip(stereo, monkeypatch, kept, channel):
    monkeypatch.setattr(segment_audio, "KEPT", kept)
    path, samples = stereo
    clip = SegmentAudio(Clip(path, channel))
    of = {"mix": samples.mean(1), "left": samples[:, 0]}
    for start, end in SPANS:
        for number in (0, 1) if channel == "each" else (0,):
            found = clip.of(SpokenSegment(start, end, "", number))
            want = samples[:, number] if channel == "each" else of[channel]
            np.testing.assert_allclose(
                found.samples, want[round(start * RATE) : round(end * RATE)], atol=1e-7
            )
            assert found.rate == RATE


def test_a_long_clip_is_never_whole_in_memory(tmp_path):
    path, minutes = tmp_path / "long.flac", 20
    with soundfile.SoundFile(path, "w", RATE, 1) as file:
        for _ in range(minutes):
            file.write(np.zeros(60 * RATE, np.float32))
    clip = SegmentAudio(Clip(path))
    tracemalloc.start()
    for at in range(0, 60 * minutes, 30):
        assert clip.of(SpokenSegment(at, at + 30, "")).frames == 30 * RATE
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 60 * minutes * RATE * 4 / 4  # a quarter of its samples
