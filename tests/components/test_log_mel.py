"""Log-mel features against transformers' extractors and against their definition."""

import warnings

import numpy as np
import pytest
from pydantic import ValidationError

from composer.components.audio import mel_filters, spectrum
from composer.components.audio.log_mel import LogMel
from composer.core.component import Bound, Spec
from composer.core.errors import ComposerError
from composer.core.ports import Port
from composer.formats.audio.waveform import Audio
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
    tone,
    voice,
    whisper,
)

__all__ = ["_exact_transform", "whisper"]

QWEN = {"mels": 128, "pad": {"multiple_of": 100}, "min_samples": 8000}
LENGTHS = (400, 7999, 8000, 30_000, 48_123)


def definition(samples, mels=128, *, frames=None, log=np.log10, filters=None, keep_last=False):
    """The formula, as a plain Fourier sum in float64."""
    filters = mel_filters.computed_mel_filters(RATE, 400, mels) if filters is None else filters
    count = (len(samples) // 160 if frames is None else frames) + keep_last
    around = np.pad(samples.astype(np.float64), 200, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    basis = np.exp(-2j * np.pi * np.outer(np.arange(201), np.arange(400)) / 400)
    slices = np.stack([around[160 * k : 160 * k + 400] * window for k in range(count)], axis=1)
    mel = log(np.maximum(filters.astype(np.float64) @ np.abs(basis @ slices) ** 2, 1e-10))
    return (np.maximum(mel, mel.max() - 8) + 4) / 4


@pytest.fixture(scope="module")
def qwen():
    from transformers.models.qwen3_asr.feature_extraction_qwen3_asr import (
        Qwen3ASRFeatureExtractor,
    )

    return Qwen3ASRFeatureExtractor()


@pytest.mark.parametrize("signal", [voice, tone])
@pytest.mark.parametrize("frames", [*LENGTHS, 960_000])
def test_equals_qwen3_asr(qwen, signal, frames):
    expected = qwen(
        signal(frames),
        sampling_rate=RATE,
        padding=True,
        return_attention_mask=True,
        return_tensors="np",
    )
    mel, mask = features(made(**QWEN), signal(frames))
    assert matches(mel, expected["input_features"][0], TORCH)
    assert np.array_equal(mask, expected["attention_mask"][0].astype(bool))
    assert mel.shape[1] % 100 == 0
    assert not mel[:, ~mask].any()
    assert mask.sum() == max(frames, 8000) // 160


@pytest.mark.parametrize("signal", [voice, tone])
@pytest.mark.parametrize("frames", [*LENGTHS, 480_000])
@pytest.mark.parametrize("rules", [WHISPER, MERALION], ids=["whisper", "meralion"])
def test_equals_whisper_and_meralion(whisper, rules, signal, frames):
    expected = whisper[rules["mels"]](
        signal(frames),
        sampling_rate=RATE,
        return_attention_mask=True,
        do_normalize=rules.get("normalize"),
        return_tensors="np",
    )
    mel, mask = features(made(**rules), signal(frames))
    assert mel.shape == (rules["mels"], 3000)
    assert matches(mel, expected["input_features"][0], TORCH)
    assert np.array_equal(mask, expected["attention_mask"][0].astype(bool))
    assert mask.sum() == -(-frames // 160)


@pytest.mark.parametrize("signal", [voice, tone])
@pytest.mark.parametrize("frames", [400, 30_000, 160_000])
def test_equals_the_extractor_without_torch(whisper, signal, frames):
    samples = signal(frames)
    expected = whisper[128]._np_extract_fbank_features(samples[None], "cpu")[0]
    assert matches(features(made(mels=128), samples)[0], expected, NUMPY)


@pytest.mark.parametrize("mels", [40, 80, 128])
@pytest.mark.parametrize("frames", [201, 399, 400, 4000, 16_001])
def test_equals_the_definition(mels, frames):
    mel, mask = features(made(mels=mels), voice(frames))
    assert matches(mel, definition(voice(frames), mels), NUMPY)
    assert mask.all()


def test_what_is_nearly_right_does_not_pass():
    """The comparison has teeth: each slip that people make is far outside of the tolerance."""
    from librosa.filters import mel as librosa_mel

    samples = voice(16_000)
    mel, _ = features(made(mels=128), samples)
    good = definition(samples)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # HTK's scale leaves some of 128 filters empty
        htk = librosa_mel(sr=RATE, n_fft=400, n_mels=128, htk=True)
    unnormed = librosa_mel(sr=RATE, n_fft=400, n_mels=128, norm=None)
    assert matches(mel, good, NUMPY)
    slips = {
        "one frame too few": good[:, :-1],
        "the last frame kept": definition(samples, keep_last=True),
        "natural logarithm": definition(samples, log=np.log),
        "htk mel scale": definition(samples, filters=htk),
        "no slaney norm": definition(samples, filters=unnormed),
        "shifted by a frame": np.roll(good, 1, axis=1),
        "another gain": definition(samples * 1.001),
        "waveform normalised": definition((samples - samples.mean()) / samples.std()),
        "mels upside down": good[::-1],
    }
    for slip, expected in slips.items():
        assert not matches(mel, expected, TORCH), slip
    normal, _ = features(made(mels=128, normalize=True), samples)
    assert matches(normal, slips["waveform normalised"], 5e-6)


@pytest.mark.parametrize("frames", [15_999, 16_000, 16_001])
def test_counts_frames_down_or_up(frames):
    down, _ = features(made(mels=80), voice(frames))
    up, mask = features(made(mels=80, frames="ceil"), voice(frames))
    assert down.shape[1] == frames // 160
    assert up.shape[1] == -(-frames // 160)
    assert mask.all()
    padded = np.pad(voice(frames), (0, -frames % 160))
    assert np.array_equal(up, features(made(mels=80), padded)[0])


def test_a_block_ends_without_a_seam(monkeypatch):
    whole, _ = features(made(mels=80), voice(50_000))
    monkeypatch.setattr(spectrum, "_BLOCK", 37)
    monkeypatch.setattr(spectrum, "_PRODUCT", 11)
    assert matches(features(made(mels=80), voice(50_000))[0], whole, NUMPY)


def test_silence_is_the_floor():
    mel, _ = features(made(**QWEN), np.zeros(16_000, np.float32))
    assert matches(mel, np.full((128, 100), -1.5), NUMPY)


def test_a_clip_shorter_than_a_frame_is_refused_as_transformers_does(whisper):
    component = made(mels=128)
    assert features(component, voice(201))[0].shape == (128, 1)
    for frames in (1, 160, 200):
        with pytest.raises(RuntimeError, match="Padding size"):
            whisper[128]._torch_extract_fbank_features(voice(frames)[None])
        with pytest.raises(ComposerError) as caught:
            features(component, voice(frames))
        assert str(caught.value) == (
            f"R520 clip has {frames} samples at 16000 Hz, one frame 201\n"
            "    hint: give a longer clip, or set min_samples to 201 or more"
        )
    assert features(made(**QWEN), voice(1))[1].sum() == 50


def test_a_clip_longer_than_the_window_is_refused_not_cut():
    component = made(**WHISPER)
    assert features(component, voice(480_000))[1].all()
    with pytest.raises(ComposerError) as caught:
        features(component, voice(480_001))
    assert str(caught.value) == (
        "R521 clip lasts 30.00 s, but the features cover 30 s\n"
        "    hint: split it into shorter clips, or allow more slices: it needs pad.slices 2"
    )


def test_another_rate_than_the_ports_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="the audio has 8000 Hz, not the port's 16000"):
        made(mels=80)(audio=Audio(voice(8000), 8000, "clip"))


@pytest.mark.parametrize("rules", [QWEN, WHISPER, MERALION, {"mels": 80}])
def test_an_empty_clip_is_refused(rules):
    with pytest.raises(ComposerError) as caught:
        made(**rules)(audio=Audio(np.zeros(0, np.float32), RATE, "clip"))
    assert str(caught.value) == "R528 clip has no samples"


def test_does_not_change_the_audio():
    samples = voice(8000)
    samples.flags.writeable = False
    made(**MERALION)(audio=Audio(samples, RATE, "clip"))
    assert np.array_equal(samples, voice(8000))


def test_facts_are_the_ports():
    spec = Spec("features", LogMel.Config.model_validate({"mels": 80, "rate": 8000}))
    facts = LogMel.facts(spec, None)
    (signature,) = facts.methods.values()
    assert signature.inputs == {"audio": (Port("audio", dims=(8000,)),)}
    assert {k: str(p) for k, p in signature.returns.items()} == {
        "out": "f32 M F",
        "mask": "bool F",
    }
    assert facts.dims == {"M": Bound(80, "config.mels")}
    padded = LogMel.facts(Spec("features", LogMel.Config.model_validate(WHISPER)), None)
    assert padded.dims["F"] == Bound(3000, "config.pad.seconds")
    several = {**WHISPER, "pad": {"seconds": 30, "slices": 10}}
    assert "F" not in LogMel.facts(Spec("features", LogMel.Config(**several)), None).dims


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({}, "Field required"),
        ({"mels": 0}, "greater than or equal to 1"),
        ({"mels": 80, "mel": 1}, "Extra inputs are not permitted"),
        ({"mels": 80, "hop": 500}, "hop 500 skips sound: a frame has 400 samples"),
        ({"mels": 80, "pad": {}}, "give either multiple_of .frames. or seconds"),
        (
            {"mels": 80, "pad": {"seconds": 30, "multiple_of": 2}},
            "give either multiple_of .frames. or seconds",
        ),
        (
            {"mels": 80, "pad": {"seconds": 1}, "hop": 161},
            "pad makes 16000 samples, not a multiple of hop 161",
        ),
        (
            {"mels": 80, "pad": {"seconds": 1}, "min_samples": 16_001},
            "min_samples is 16001, but pad makes 16000",
        ),
        ({"mels": 80, "pad": {"seconds": 30, "slices": 0}}, "greater than or equal to 1"),
        (
            {"mels": 80, "pad": {"multiple_of": 100, "slices": 2}},
            "slices need seconds, which are not given",
        ),
        ({"mels": 80, "frames": "round"}, "Input should be 'floor' or 'ceil'"),
    ],
)
def test_refuses_a_config_that_contradicts_itself(config, why):
    with pytest.raises(ValidationError, match=why):
        LogMel.Config.model_validate(config)


def test_refuses_filters_without_a_bin():
    with pytest.raises(ComposerError) as caught:
        made(mels=256)
    (problem,) = caught.value.problems
    assert problem.code == "W251"
    assert problem.message.endswith("of 256 mel filters are between two FFT bins")
    assert problem.hint == "use fewer mels, or an n_fft above 400"


def test_other_rates_take_their_filters_from_librosa():
    component = made(mels=40, rate=8000, n_fft=200, hop=80)
    assert component.filters.shape == (40, 101)
    mel = component(audio=Audio(voice(8000), 8000, "clip"))["out"]
    assert mel.shape == (40, 100)


@pytest.mark.parametrize(
    "config",
    [
        {"mels": 512, "rate": 384_000, "hop": 1, "pad": {"seconds": 300}},
        {"mels": 512, "rate": 16_000, "hop": 1, "pad": {"seconds": 30, "slices": 10}},
    ],
)
def test_the_product_of_what_is_padded_is_bounded(config):
    with pytest.raises(ValueError, match="the features would be more than 268435456 numbers"):
        LogMel.Config(**config)


def test_frames_of_a_short_hop_are_bounded_before_they_are_made(monkeypatch):
    monkeypatch.setattr("composer.components.audio.framing.MOST_NUMBERS", 80 * 900)
    config = LogMel.Config(mels=80, hop=10)
    component = LogMel(config, np.zeros((80, 201), np.float32))
    clip = Audio(np.zeros(16_000, np.float32), 16_000, "clip")
    with pytest.raises(ComposerError, match="R521 the features would be 80 x 1600 numbers"):
        component(audio=clip)
