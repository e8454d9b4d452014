"""Signals, and log-mel features of them."""

import numpy as np
import pytest

from composer.components.audio.log_mel import LogMel
from composer.core.component import Spec
from composer.core.placement import Placement
from composer.formats.audio.waveform import Audio

transformers = pytest.importorskip("transformers")

RATE = 16_000
NUMPY = TORCH = 1e-6
WHISPER = {"mels": 80, "pad": {"seconds": 30}, "frames": "ceil"}
MERALION = {"mels": 128, "pad": {"seconds": 30}, "frames": "ceil", "normalize": True}


def made(**config):
    spec = Spec("features", LogMel.Config.model_validate(config))
    return LogMel.load(spec, LogMel.facts(spec, None), Placement())


def voice(frames, seed=0):
    """Something like speech: harmonics of a gliding pitch in bursts, over a little noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames) / RATE
    phase = 2 * np.pi * np.cumsum(120 + 40 * np.sin(2 * np.pi * 0.7 * time)) / RATE
    tones = sum(np.sin(k * phase) / k for k in range(1, 20))
    return (0.1 * tones * (np.sin(2 * np.pi * 2 * time) > -0.3)).astype(np.float32) + rng.normal(
        0, 0.002, frames
    ).astype(np.float32)


def tone(frames):
    return np.sin(np.arange(frames) * 0.123).astype(np.float32)


def features(component, samples):
    given = component(audio=Audio(samples, RATE, "clip"))
    assert set(given) == {"out", "mask"}
    mel, mask = given["out"], given["mask"]
    assert mel.dtype == np.float32
    assert mel.shape == (component.config.mels, len(mask))
    assert mask.dtype == np.bool_
    return mel, mask


def matches(found, expected, tolerance):
    return found.shape == expected.shape and bool(np.abs(found - expected).max() <= tolerance)


@pytest.fixture(autouse=True)
def _exact_transform(monkeypatch):
    """Let transformers' extractors transform in float64: float32 is up to 7e-5 off."""
    import torch

    in_float32 = torch.stft

    def stft(waveform, *sizes, window, **how):
        window = torch.hann_window(len(window), dtype=torch.float64)
        return in_float32(waveform.double(), *sizes, window=window, **how).cfloat()

    monkeypatch.setattr(torch, "stft", stft)


@pytest.fixture(scope="module")
def whisper():
    return {mels: transformers.WhisperFeatureExtractor(feature_size=mels) for mels in (80, 128)}
