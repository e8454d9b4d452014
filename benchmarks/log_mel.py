"""Compute Whisper's log-mel of 30 s: composer, transformers and librosa, the same output."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.timing import in_turns, table

RATE, MELS = 16_000, 128
OURS = "composer audio.log_mel"


def ours() -> Callable[[np.ndarray], np.ndarray]:
    """Return composer's component as a function of samples."""
    from composer import Spec
    from composer.components.audio.log_mel import LogMel
    from composer.core.placement import Placement
    from composer.formats.audio.waveform import Audio

    spec = Spec("features", LogMel.Config(mels=MELS))
    component = LogMel.load(spec, LogMel.facts(spec, None), Placement())
    return lambda samples: component(Audio(samples, RATE, "noise"))["out"]


def transformers() -> Callable[[np.ndarray], np.ndarray]:
    """Return transformers' extractor as a function of samples."""
    from transformers import WhisperFeatureExtractor

    extractor = WhisperFeatureExtractor(feature_size=MELS)

    def extract(samples: np.ndarray) -> np.ndarray:
        given: dict[str, Any] = {"sampling_rate": RATE, "padding": "longest"}
        features: np.ndarray = extractor(samples, return_tensors="np", **given).input_features[0]
        return features

    return extract


def librosa() -> Callable[[np.ndarray], np.ndarray]:
    """Return the same features by librosa as a function of samples."""
    from librosa.feature import melspectrogram

    def extract(samples: np.ndarray) -> np.ndarray:
        mel = melspectrogram(
            y=samples, sr=RATE, n_fft=400, hop_length=160, n_mels=MELS, pad_mode="reflect"
        )
        log = np.log10(np.maximum(mel[:, :-1], 1e-10))
        features: np.ndarray = (np.maximum(log, log.max() - 8.0) + 4.0) / 4.0
        return features

    return extract


def noise(seconds: float) -> np.ndarray:
    """Return white noise with a tone in it."""
    size = round(seconds * RATE)
    tone = np.sin(np.arange(size) * 0.2)
    random_values = np.random.default_rng(0).standard_normal(size)
    return (0.1 * random_values + 0.1 * tone).astype(np.float32)


def main(arguments: list[str]) -> None:
    """Compare the outputs, then print the medians."""
    parser = argparse.ArgumentParser(prog="scripts/bench log-mel", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--turns", type=int, default=101)
    options = parser.parse_args(arguments)
    samples = noise(options.seconds)
    makers = {OURS: ours(), "transformers": transformers(), "librosa": librosa()}
    expected = makers[OURS](samples)
    for name, make in makers.items():
        found = make(samples)
        assert found.shape == expected.shape, name
        difference = float(np.abs(found - expected).max())
        assert difference < 1e-3, f"{name} is {difference} apart"
        print(f"{name}: {found.dtype} {list(found.shape)}, largest difference {difference:.1e}")
    ways = {name: lambda make=make: make(samples) for name, make in makers.items()}
    print(table(in_turns(ways, options.turns), OURS))
