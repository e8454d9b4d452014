"""Phi-4's log-mel against transformers' extractor, its definition, and what is nearly right."""

import numpy as np
import pytest
from pydantic import ValidationError

from composer.components.audio import phi4_log_mel
from composer.components.audio.mel_filters import computed_mel_filters
from composer.components.audio.phi4_log_mel import Phi4LogMel
from composer.core.component import Bound, Spec
from composer.core.errors import ComposerError
from composer.core.placement import Placement
from composer.formats.audio.waveform import Audio
from tests.components.signals import matches, tone, voice

transformers = pytest.importorskip("transformers")

RATE = 16_000
CLOSE = 1e-4
LENGTHS = (400, 559, 560, 16_000, 32_077, 80_000)


def made(**config):
    spec = Spec("features", Phi4LogMel.Config.model_validate(config))
    return Phi4LogMel.load(spec, Phi4LogMel.facts(spec, None), Placement())


def features(samples, **config):
    mel = made(**config)(audio=Audio(samples, RATE, "clip"))
    assert mel.dtype == np.float32
    return mel


def theirs(samples, last_bin=True):
    """Return transformers' frames [F, M]; without the last bin its bank is SpeechLib's."""
    extractor = transformers.Phi4MultimodalFeatureExtractor()
    if not last_bin:
        extractor.mel_filters[246] = 0
    given = extractor([samples], sampling_rate=RATE, return_tensors="pt")
    found = given["audio_input_features"][0].numpy()
    assert given["audio_embed_sizes"].tolist() == [-(-len(found) // 8)]
    return found


def bank():
    """SpeechLib's triangles, bin by bin."""
    mel = lambda hertz: 1127 * np.log(1 + hertz / 700)  # noqa: E731
    step, found = mel(7690) / 81, np.zeros((257, 80))
    for number in range(1, 246):
        for filter_ in range(80):
            away = abs(mel(number * RATE / 512) - (filter_ + 1) * step) / step
            found[number, filter_] = max(0, 1 - away)
    return found


def definition(samples, *, emphasize=None, filters=None, window=None, least=1.0, power=2):
    """The formula, as a plain Fourier sum in float64."""
    samples = samples.astype(np.float64)
    count = (len(samples) - 400) // 160 + 1
    frames = np.stack([samples[160 * k : 160 * k + 400] for k in range(count)])
    if emphasize is None:
        first = 0.03 * frames[:, :1]
        frames = np.concatenate([first, frames[:, 1:] - 0.97 * frames[:, :-1]], axis=1)
    else:
        frames = emphasize(frames)
    time = np.arange(400)
    window = 0.54 - 0.46 * np.cos(2 * np.pi * time / 399) if window is None else window
    basis = np.exp(-2j * np.pi * np.outer(time, np.arange(257)) / 512)
    strength = np.abs((frames * 32768 * window) @ basis) ** power
    return np.log(np.maximum(strength @ (bank() if filters is None else filters), least))


@pytest.mark.parametrize("length", LENGTHS)
def test_equals_phi_4(length):
    for signal in (voice, tone, np.zeros):
        samples = signal(length).astype(np.float32)
        mel = features(samples)
        assert mel.shape == ((length - 400) // 160 + 1, 80)
        assert matches(mel, theirs(samples, last_bin=False), CLOSE), signal


def test_transformers_counts_one_bin_more_in_the_last_mel_alone():
    mel, other = features(voice(16_000)), theirs(voice(16_000))
    assert matches(mel[:, :79], other[:, :79], CLOSE)
    assert 1e-3 < np.abs(mel[:, 79] - other[:, 79]).max() < 0.03


@pytest.mark.parametrize("length", [400, 16_001])
def test_equals_the_definition(length):
    mel = features(voice(length))
    assert matches(mel, definition(voice(length)), CLOSE)
    assert mel.max() > 5


def test_what_is_nearly_right_does_not_pass():
    samples = voice(16_000)
    samples[4000:6000] = 0  # of which the floor makes 0
    mel, good = features(samples), definition(samples)
    assert matches(mel, good, CLOSE)
    whole = np.concatenate([samples[:1], samples[1:] - 0.97 * samples[:-1]])
    slips = {
        "pre-emphasis over the signal": definition(whole, emphasize=lambda frames: frames),
        "a first sample without a predecessor": definition(
            samples,
            emphasize=lambda x: np.concatenate([x[:, :1], x[:, 1:] - 0.97 * x[:, :-1]], 1),
        ),
        "slaney filters": definition(samples, filters=computed_mel_filters(RATE, 512, 80).T),
        "HTK filters over hertz": definition(
            samples, filters=computed_mel_filters(RATE, 512, 80, "htk").T
        ),
        "a periodic window": definition(samples, window=np.hamming(401)[:-1]),
        "a Hann window": definition(samples, window=np.hanning(400)),
        "a floor of its own": definition(samples, least=1e-10),
        "magnitudes": definition(samples, power=1),
        "samples within 1": definition(samples / 32768),
        "one frame more": np.concatenate([good, good[-1:]]),
        "shifted by a frame": np.roll(good, 1, axis=0),
        "mean and variance twice": (good - good.mean(0)) / good.std(0),
    }
    for slip, expected in slips.items():
        assert not matches(mel, expected, 1e-3), slip


def test_a_block_ends_without_a_seam(monkeypatch):
    whole = features(voice(50_000))
    monkeypatch.setattr(phi4_log_mel, "_BLOCK", 37)
    assert matches(features(voice(50_000)), whole, 1e-5)


def test_a_clip_without_a_whole_frame_is_refused():
    assert features(voice(400)).shape == (1, 80)
    with pytest.raises(ComposerError) as caught:
        features(voice(399))
    assert str(caught.value) == (
        "R520 clip has 399 samples at 16000 Hz, one frame 400\n    hint: give a longer clip"
    )
    with pytest.raises(ComposerError) as caught:
        features(voice(0))
    assert str(caught.value) == "R528 clip has no samples"


def test_another_rate_than_the_ports_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="the audio has 8000 Hz, not the port's 16000"):
        made()(audio=Audio(voice(8000), 8000, "clip"))


def test_facts_are_the_ports():
    facts = Phi4LogMel.facts(Spec("features", Phi4LogMel.Config(mels=40)), None)
    (signature,) = facts.methods.values()
    assert str(signature.inputs["audio"][0]) == "audio 16000"
    assert {k: str(p) for k, p in signature.returns.items()} == {"out": "f32 F M"}
    assert facts.dims == {"M": Bound(40, "config.mels")}


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"mel": 1}, "Extra inputs are not permitted"),
        ({"hop": 500}, "hop 500 skips sound: a frame has 400 samples"),
        ({"frame": 600}, "a frame has 600 samples and its FFT 512"),
        ({"rate": 8000}, "highest 7690 Hz is over half of 8000 Hz"),
    ],
)
def test_refuses_a_config_that_contradicts_itself(config, why):
    with pytest.raises(ValidationError, match=why):
        Phi4LogMel.Config.model_validate(config)
