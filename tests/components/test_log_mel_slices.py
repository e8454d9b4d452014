"""Slices of a long clip are clips of their own."""

import numpy as np
import pytest

from composer.core.errors import ComposerError
from tests.components.signals import (
    MERALION,
    NUMPY,
    RATE,
    TORCH,
    WHISPER,
    _exact_transform,
    features,
    made,
    matches,
    voice,
    whisper,
)

__all__ = ["_exact_transform", "whisper"]


def sliced(extractor, samples, seconds, **given):
    """The reference of slices: the extractor, called for each of them."""
    size = seconds * RATE
    parts = [
        extractor(
            samples[at : at + size],
            sampling_rate=RATE,
            padding="max_length",
            max_length=size,
            return_attention_mask=True,
            return_tensors="np",
            **given,
        )
        for at in range(0, len(samples), size)
    ]
    mel = np.concatenate([part["input_features"][0] for part in parts], axis=1)
    return mel, np.concatenate([part["attention_mask"][0] for part in parts]).astype(bool)


@pytest.mark.parametrize("normalize", [True, False], ids=["normalized", "plain"])
@pytest.mark.parametrize("frames", [20_000, 48_000, 48_001, 70_123, 144_000])
def test_slices_are_clips_of_their_own(whisper, frames, normalize):
    """A louder end makes the slices differ: each has its own mean, variance and clamp."""
    samples = voice(frames) * np.linspace(0.01, 1, frames, dtype=np.float32)
    rules = {**MERALION, "normalize": normalize, "pad": {"seconds": 3, "slices": 3}}
    mel, mask = features(made(**rules), samples)
    expected, marks = sliced(whisper[128], samples, 3, do_normalize=normalize)
    assert mel.shape == (128, 300 * -(-frames // 48_000))
    assert matches(mel, expected, TORCH)
    assert np.array_equal(mask, marks)
    if frames > 48_001:
        alone, _ = features(made(**rules), samples[48_000:])
        assert np.array_equal(mel[:, 300:], alone)


def test_what_is_nearly_sliced_does_not_pass(whisper):
    samples = voice(70_123) * np.linspace(0.01, 1, 70_123, dtype=np.float32)
    rules = {**MERALION, "pad": {"seconds": 3, "slices": 3}}
    mel, _ = features(made(**rules), samples)
    expected, _ = sliced(whisper[128], samples, 3, do_normalize=True)
    whole = {**rules, "pad": {"seconds": 6}}
    assert matches(mel, expected, TORCH)
    slips = {
        "a slice missing": mel[:, :300],
        "slices swapped": np.roll(mel, 300, axis=1),
        "one clip of 6 s": features(made(**whole), samples)[0],
        "not normalized": features(made(**{**rules, "normalize": False}), samples)[0],
        "the end first": features(made(**rules), np.roll(samples, 70_123 - 48_000))[0],
    }
    for slip, found in slips.items():
        assert not matches(found, expected, TORCH), slip


def test_more_than_the_slices_is_refused_not_cut():
    component = made(**{**WHISPER, "pad": {"seconds": 3, "slices": 2}})
    assert features(component, voice(96_000))[1].all()
    with pytest.raises(ComposerError) as caught:
        features(component, voice(96_001))
    assert str(caught.value) == (
        "R521 clip lasts 6.00 s, but the features cover 6 s\n"
        "    hint: split it into shorter clips, or allow more slices: it needs pad.slices 3"
    )


@pytest.mark.parametrize("normalize", [True, False])
def test_silence_beside_sound_gives_numbers(whisper, normalize):
    rules = {**MERALION, "normalize": normalize, "pad": {"seconds": 3, "slices": 3}}
    for level in (0.0, 0.1):  # silence, and a constant
        samples = np.concatenate([voice(48_000), np.full(50_000, level, np.float32)])
        expected, _ = sliced(whisper[128], samples, 3, do_normalize=normalize)
        mel, _ = features(made(**rules), samples)
        assert np.isfinite(mel).all()
        if level == 0.0:
            assert matches(mel, expected, TORCH)
            assert matches(mel[:, 300:], np.full((128, 600), -1.5), NUMPY)
