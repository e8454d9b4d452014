"""The Universal Speech Model's log-mel against transformers' extractor and its definition."""

import numpy as np
import pytest
from pydantic import ValidationError

from composer.components.audio import usm_log_mel
from composer.components.audio.mel_filters import computed_mel_filters
from composer.components.audio.usm_log_mel import UsmLogMel
from composer.core.component import Bound, Spec
from composer.core.errors import ComposerError
from composer.core.placement import Placement
from composer.formats.audio.waveform import Audio
from tests.components.signals import matches, tone, voice

transformers = pytest.importorskip("transformers")

RATE = 16_000
CLOSE, SINGLE = 1e-5, 2e-5
LENGTHS = (161, 320, 321, 1000, 16_000, 32_077, 51_201, 480_000)


def made(**config):
    spec = Spec("features", UsmLogMel.Config.model_validate(config))
    return UsmLogMel.load(spec, UsmLogMel.facts(spec, None), Placement())


def features(component, samples):
    mel = component(audio=Audio(samples, RATE, "clip"))
    assert mel.dtype == np.float32
    return mel


def theirs(samples, double=True, **settings):
    """Return transformers' valid frames [F, M], and the others; its FFT is a float32 one."""
    extractor = transformers.Gemma4AudioFeatureExtractor(**settings)
    if double:
        extractor.window = extractor.window.astype(np.float64)
    given = extractor([samples])
    valid = np.array(given["input_features_mask"][0])
    return given["input_features"][0][valid], given["input_features"][0][~valid]


def definition(samples, mels=128, *, square=False, before=160, floor=1e-3, filters=None, log=None):
    """The formula, as a plain Fourier sum in float64."""
    filters = computed_mel_filters(RATE, 512, mels, "htk") if filters is None else filters
    around = np.concatenate([np.zeros(before), samples.astype(np.float64)])
    count = (len(around) - 321) // 160 + 1
    window = np.float32(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(320) / 320))
    basis = np.exp(-2j * np.pi * np.outer(np.arange(257), np.arange(320)) / 512)
    slices = np.stack([around[160 * k : 160 * k + 320] * window for k in range(count)], axis=1)
    strength = np.abs(basis @ slices) ** (2 if square else 1)
    return (log or np.log)(filters.astype(np.float64) @ strength + floor).T


def of_whisper(samples):
    """What audio.mel_window [400] and audio.mel_filters [201, 128] give: Slaney's areas on HTK."""
    filters = computed_mel_filters(RATE, 400, 128, "htk").astype(np.float64)
    peaks = filters.max(axis=1, keepdims=True)
    areas = filters.sum(axis=1, keepdims=True)
    filters *= np.where(areas > 0, peaks / np.maximum(areas, 1e-9), 0)
    around = np.concatenate([np.zeros(160), samples.astype(np.float64)])
    count = (len(around) - 321) // 160 + 1
    whole = np.pad(around, (0, 400))
    window = np.hanning(401)[:-1]
    slices = np.stack([whole[160 * k : 160 * k + 400] * window for k in range(count)])
    return np.log(np.abs(np.fft.rfft(slices, 400)) @ filters.T + 1e-3)


@pytest.mark.parametrize("frames", LENGTHS)
def test_equals_gemma_4(frames):
    for signal in (voice, tone, np.zeros):
        samples = signal(frames).astype(np.float32)
        expected, padding = theirs(samples)
        mel = features(made(), samples)
        assert mel.shape == ((frames - 1) // 160, 128)
        assert matches(mel, expected, CLOSE), signal
        assert not padding.any()
    expected, _ = theirs(voice(frames), double=False)  # as it is, without the float64 of above
    assert matches(features(made(), voice(frames)), expected, SINGLE)


@pytest.mark.parametrize("frames", [161, 16_001, 30_000])
def test_equals_the_definition(frames):
    mel = features(made(), voice(frames))
    assert matches(mel, definition(voice(frames)), 2e-6)
    assert np.abs(mel).max() > 1


def test_an_older_preprocessor_has_other_frames():
    samples = voice(20_000)
    expected, _ = theirs(samples, frame_length_ms=32.0)
    assert matches(features(made(frame=512), samples), expected, CLOSE)
    assert not matches(features(made(), samples)[: len(expected)], expected, 0.1)


def test_what_is_nearly_right_does_not_pass():
    samples = voice(16_000)
    mel = features(made(), samples)
    good = definition(samples)
    assert matches(mel, good, SINGLE)
    slips = {
        "power": definition(samples, square=True),
        "a centred first frame missing": definition(samples, before=0),
        "another floor": definition(samples, floor=1e-2),
        "log10": definition(samples, log=np.log10),
        "the window and the slaney filters of CrispASR's file": of_whisper(samples),
        "slaney filters": definition(samples, filters=computed_mel_filters(RATE, 512, 128)),
        "one frame too few": good[:-1],
        "shifted by a frame": np.roll(good, 1, axis=0),
        "another gain": definition(samples * 1.001),
        "mels upside down": good[:, ::-1],
    }
    for slip, expected in slips.items():
        assert not matches(mel, expected, SINGLE), slip


def test_a_block_ends_without_a_seam(monkeypatch):
    whole = features(made(), voice(50_000))
    monkeypatch.setattr(usm_log_mel, "_BLOCK", 37)
    assert matches(features(made(), voice(50_000)), whole, 2e-6)


def test_a_clip_without_a_whole_frame_is_refused():
    assert features(made(), voice(161)).shape == (1, 128)
    with pytest.raises(ComposerError) as caught:
        features(made(), voice(160))
    assert str(caught.value) == (
        "R520 clip has 160 samples at 16000 Hz, one frame 161\n    hint: give a longer clip"
    )
    with pytest.raises(ComposerError) as caught:
        features(made(), voice(0))
    assert str(caught.value) == "R528 clip has no samples"


def test_a_clip_longer_than_those_of_training_is_refused_not_cut():
    assert len(features(made(seconds=2), voice(32_000))) == 199
    with pytest.raises(ComposerError) as caught:
        features(made(seconds=2), voice(32_001))
    assert str(caught.value) == (
        "R521 clip lasts 2.00 s, but the features cover 2 s\n"
        "    hint: split it into shorter clips, or let the manifest do it: "
        "audio: {type: audio, split: {seconds: 2}}"
    )


def test_another_rate_than_the_ports_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="the audio has 8000 Hz, not the port's 16000"):
        made()(audio=Audio(voice(8000), 8000, "clip"))


def test_facts_are_the_ports():
    facts = UsmLogMel.facts(Spec("features", UsmLogMel.Config(mels=80, rate=8000)), None)
    (signature,) = facts.methods.values()
    assert str(signature.inputs["audio"][0]) == "audio 8000"
    assert {k: str(p) for k, p in signature.returns.items()} == {"out": "f32 F M"}
    assert facts.dims == {"M": Bound(80, "config.mels")}


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"mel": 1}, "Extra inputs are not permitted"),
        ({"hop": 500}, "hop 500 skips sound: a frame has 320 samples"),
        ({"frame": 600}, "a frame has 600 samples and its FFT 512"),
        ({"floor": 0.0}, "greater than 0"),
    ],
)
def test_refuses_a_config_that_contradicts_itself(config, why):
    with pytest.raises(ValidationError, match=why):
        UsmLogMel.Config.model_validate(config)
