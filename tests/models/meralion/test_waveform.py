"""From a waveform to rows, against the feature extractor that MERaLiON's processor calls."""

import numpy as np
import pytest
import transformers

from composer.components.audio.log_mel import LogMel
from composer.components.models import meralion
from composer.core.component import Spec
from composer.core.placement import Placement
from composer.formats.audio.waveform import Audio
from tests.models.meralion.reference import (
    JOINED,
    MELS,
    OUT,
    WIDTH,
    WINDOW,
    Reference,
    close,
    load,
    published,
    run,
    sinusoids,
    tensors,
)


def voice(samples, seed=0):
    draw, time = np.random.default_rng(seed), np.arange(samples) / 16_000
    phase = 2 * np.pi * np.cumsum(120 + 40 * np.sin(2 * np.pi * 0.7 * time)) / 16_000
    tones = sum(np.sin(k * phase) / k for k in range(1, 20))
    loud = 0.05 + 0.1 * time / time[-1]
    return (loud * tones + draw.normal(0, 0.002, samples)).astype(np.float32)


def encoded(component, samples, seconds=3, slices=4, normalize=True):
    config = LogMel.Config.model_validate(
        {"mels": MELS, "pad": {"seconds": seconds, "slices": slices}, "frames": "ceil",
         "normalize": normalize}
    )  # fmt: skip
    component_spec = Spec("features", config)
    features = LogMel.load(component_spec, LogMel.facts(component_spec, None), Placement())
    return run(component, features(audio=Audio(samples, 16_000, "clip"))["out"])


def expected(reference, samples, seconds=3):
    extractor = transformers.WhisperFeatureExtractor(feature_size=MELS, chunk_length=seconds)
    size = 16_000 * seconds
    mels = [
        extractor(
            samples[at : at + size],
            sampling_rate=16_000,
            padding="max_length",
            do_normalize=True,
            return_tensors="np",
        )["input_features"][0]
        for at in range(0, len(samples), size)
    ]
    return reference.rows(*mels)


@pytest.mark.parametrize("samples", [20_000, 48_000, 48_001, 67_200, 144_000])
def test_from_the_waveform(component, reference, samples):
    want = expected(reference, voice(samples))
    assert want.shape == (10 * -(-samples // 48_000), OUT)
    assert close(encoded(component, voice(samples)), want)


def test_windows_of_thirty_seconds(tmp_path):
    reference = Reference(window=1500)
    component = load(published(tmp_path / "long", reference))
    samples = voice(16_000 * 32)
    rows = encoded(component, samples, seconds=30)
    assert rows.shape == (200, OUT)
    assert close(rows, expected(reference, samples, seconds=30))


def test_silence_gives_numbers(component, reference):
    silent = np.zeros(50_000, np.float32)
    assert close(encoded(component, silent), expected(reference, silent))
    half = np.concatenate([voice(48_000), silent])
    assert close(encoded(component, half), expected(reference, half))


def test_what_is_nearly_right_does_not_pass(tmp_path, component, reference, monkeypatch):
    samples = voice(67_200)
    want = expected(reference, samples)
    rows = encoded(component, samples)
    assert close(rows, want)
    assert not close(rows[:10], want), "the second slice missing"
    assert not close(np.concatenate([rows[10:], rows[:10]]), want), "slices swapped"
    assert not close(encoded(component, samples, normalize=False), want), "not normalized"
    whole = (samples - samples.mean()) / samples.std()
    once = encoded(component, whole, normalize=False)
    assert not close(once, want), "normalized as a whole"

    weights = tensors(reference)
    place = "speech_encoder.embed_positions.weight"
    weights[place] = sinusoids(WINDOW, interleaved=True)
    other = load(published(tmp_path / "interleaved", reference, weights))
    assert not close(encoded(other, samples), want), "sines and cosines interleaved"

    if component.backend == "numpy":
        return  # a graph of ONNX is written already, and the formulas are the same
    adapt, own = meralion.adapt, meralion.layer

    def shuffled(v, settings, x):
        frames = x.reshape(JOINED, -1, WIDTH).transpose(1, 0, 2)
        return adapt(v, settings, frames.reshape(x.shape))

    def numbers_first(v, settings, x):
        frames = x.reshape(-1, JOINED, WIDTH).transpose(0, 2, 1)
        return adapt(v, settings, frames.reshape(x.shape))

    for way in (shuffled, numbers_first):
        monkeypatch.setattr(meralion, "adapt", way)
        assert not close(encoded(component, samples), want), way.__name__
    monkeypatch.undo()

    def swapped(v, at, num_heads, x):
        number = int(at.split(".")[1])
        return own(v, f"layers.{(1, 0, 2)[number]}.", num_heads, x)

    monkeypatch.setattr(meralion, "layer", swapped)
    assert not close(encoded(component, samples), want), "layers swapped"
    monkeypatch.undo()
    monkeypatch.setattr(meralion, "EPS", 1e-2)
    assert not close(encoded(component, samples), want), "another epsilon"
