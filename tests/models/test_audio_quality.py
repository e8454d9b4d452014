"""Mega-ASR's router against torch, stage by stage, from its features to the route."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from composer.components.audio.mel_filters import computed_mel_filters
from composer.components.audio.polyphase import resample_poly
from composer.components.audio.torch_log_mel import TorchLogMel
from composer.components.models import audio_quality
from composer.core.component import Facts, Spec
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats import Headers
from composer.formats.audio.waveform import Audio
from tests.components.signals import voice
from tests.models.backends import BACKENDS, apply, arrays, family, plain
from tests.reference.mega_router import features, make_router, save_router

CLOSE = 1e-4


@pytest.fixture(scope="module")
def router(one_thread):
    return make_router()


@pytest.fixture(scope="module")
def file(router, tmp_path_factory):
    return save_router(router, tmp_path_factory.mktemp("router") / "best_acc_model.safetensors")


def spec(file, **config):
    made = audio_quality.AudioQuality.Config(**config)
    return Spec("router", made, Location("repo", file.name, file.parent))


def load(file, backend, **config):
    kind, placement = family("audio_quality", backend), Placement()
    if backend == "mlx":
        placement = Placement(device="cpu")
    given = spec(file, **config)
    return kind.load(given, kind.facts(given, Headers()), placement)


def facts(file, **config):
    return family("audio_quality", "onnx").facts(spec(file, **config), Headers())


def refusal(file, **config):
    with pytest.raises(ComposerError) as caught:
        facts(file, **config)
    return str(caught.value)


def log_mel(samples, rate=16_000):
    component = TorchLogMel.load(Spec("features", TorchLogMel.Config()), Facts(), Placement())
    return component(audio=Audio(samples.astype(np.float32), rate, "clip"))


def score(component, mel):
    found = component(arrays(component, mel))
    made = float(plain(found["score"])[0])
    assert bool(found["degraded"][0]) is (made >= component.config.threshold)
    return made


def close(found, want, tolerance=CLOSE):
    return found.shape == want.shape and bool(np.abs(found - want).max() <= tolerance)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_features_are_those_of_torch(rate):
    samples = voice(rate + 77).astype(np.float32)
    want = features(samples, rate, computed_mel_filters(16_000, 400, 80))
    found = log_mel(samples, rate)
    assert found.shape[1] == -(-len(samples) * 16_000 // rate) // 160 + 1
    assert close(found, want)
    wrong = {
        "the last frame dropped": found[:, :-1],
        "HTK's mels": features(samples, rate, computed_mel_filters(16_000, 400, 80, "htk")),
    }
    if rate != 16_000:
        soxr = Audio(samples, rate, "clip").resample(16_000).samples
        wrong["the speech encoder's resampler"] = log_mel(soxr)
    for why, other in wrong.items():
        assert not close(other, want, 1e-3), why


def test_silence_is_not_clamped_to_the_loudest_frame():
    samples = np.concatenate([voice(8_000), np.zeros(8_000)]).astype(np.float32)
    want = features(samples, 16_000, computed_mel_filters(16_000, 400, 80))
    assert close(log_mel(samples), want)
    assert want.min() < want.max() - 2.0


@pytest.mark.parametrize("rates", [(44_100, 16_000), (11_025, 16_000), (16_000, 44_100), (7, 5)])
def test_resampling_is_that_of_scipy(rates):
    from scipy.signal import resample_poly as theirs

    common = np.gcd(*rates)
    for count in (1, 5, 4_001):
        samples = np.random.default_rng(count).standard_normal(count)
        want = theirs(samples, rates[1] // common, rates[0] // common)
        assert close(resample_poly(samples, *rates), want, 1e-13)


def test_short_clips_are_refused():
    with pytest.raises(ComposerError, match=r"R520 clip has 200 samples .* takes 201"):
        log_mel(np.ones(200))
    assert log_mel(np.ones(201)).shape == (80, 2)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("frames", [2, 101, 404])
def test_every_stage_is_that_of_torch(file, router, backend, frames):
    component = load(file, backend)
    mel = np.random.default_rng(frames).standard_normal((80, frames), np.float32)
    front, rows, want = router.stages(mel)
    settings = component.run.network.forward.args[0]

    def stage(write, *inputs):
        return apply(component, lambda nn, *x: write(settings, nn, *x), *inputs)

    assert close(stage(audio_quality.frontend, mel, np.arange(len(front))), front)
    assert close(stage(audio_quality.attend, front), rows)
    assert close(stage(lambda _, nn, x: audio_quality.classify(nn, x), rows), want)
    assert abs(score(component, mel) - want[0, 1]) <= CLOSE
    assert 0.02 < want[0, 1] < 0.98


def test_what_is_nearly_right_does_not_pass(file, router, tmp_path):
    mel = np.random.default_rng(3).standard_normal((80, 101), np.float32)
    want = router.stages(mel)[2][0, 1]
    state = router.state_dict()
    swapped = state["pos_encoder.pe"].reshape(1, -1, 2, 16).transpose(2, 3).reshape(1, -1, 32)
    zeros = torch.zeros_like(state["frontend.conv.1.running_mean"])
    wrong = {
        "sines, then cosines": {"pos_encoder.pe": swapped},
        "no stored mean": {"frontend.conv.1.running_mean": zeros},
        "a plain mean over time": {"pooling.query.weight": state["pooling.query.weight"] * 0},
        "queries for keys": {
            "transformer.layers.0.self_attn.in_proj_weight": state[
                "transformer.layers.0.self_attn.in_proj_weight"
            ].roll(32, 0)
        },
    }
    for why, changed in wrong.items():
        other = save_router(router, tmp_path / "wrong.safetensors", **changed)
        assert abs(score(load(other, "onnx"), mel) - want) > 1e-3, why
    assert abs(score(load(file, "onnx", heads=2), mel) - want) > 1e-3, "fewer heads"
    assert abs(score(load(file, "onnx"), mel[:, :-4]) - want) > 1e-3, "a row less"


@pytest.mark.parametrize("backend", BACKENDS)
def test_long_clips_do_what_the_manifest_says(tmp_path, backend):
    router = make_router(positions=10)
    file = save_router(router, tmp_path / "short.safetensors")
    mel = np.random.default_rng(5).standard_normal((80, 95), np.float32)
    first, second, third = (router.stages(part)[2][0, 1] for part in np.split(mel, [40, 80], 1))
    assert score(load(file, backend), mel[:, :40]) == pytest.approx(first, abs=CLOSE)
    with pytest.raises(ComposerError, match=r"R550 the log-mel has 41 frames, .* for 40"):
        score(load(file, backend), mel[:, :41])
    assert score(load(file, backend, long="first_34s"), mel) == pytest.approx(first, abs=CLOSE)
    mean = (40 * first + 40 * second + 15 * third) / 95
    assert score(load(file, backend, long="mean_of_windows"), mel) == pytest.approx(mean, abs=CLOSE)
    assert abs(mean - first) > 1e-3


def test_the_threshold_itself_is_degraded(file):
    mel = np.ones((80, 9), np.float32)
    exact = score(load(file, "numpy"), mel)
    for threshold, wanted in ((exact, True), (np.nextafter(exact, 1.0), False), (0.0, True)):
        found = load(file, "numpy", threshold=float(threshold))(mel)
        assert found["degraded"].tolist() == [wanted]


def test_claims_of_the_header_are_compared_with_the_tensors(file, router, tmp_path):
    (note,) = facts(file).notes
    assert note.code == "L349"
    assert note.message == "its header says num_layers 4, and 1 is stored, which counts"
    assert facts(file).dims["M"].value == 80
    odd = tmp_path / "odd.safetensors"
    save_router(router, odd, {"nhead": 4, "d_model": 192, "dim_feedforward": 512})
    assert [note.message.split(",")[0] for note in facts(odd).notes] == [
        "its header says d_model 192",
        "its header says dim_feedforward 512",
    ]
    save_router(router, odd, {})
    assert "W274 nothing says how many attention heads there are" in refusal(odd)
    assert facts(odd, heads=4).notes == ()
    for claim in (5, 0, "4", True, None, 2.0):
        save_router(router, odd, {"nhead": claim})
        assert "W274 the attention heads do not divide the width" in refusal(odd)


def test_hostile_headers_are_refused(router, tmp_path):
    odd = tmp_path / "odd.safetensors"
    state = {name: value.contiguous() for name, value in router.state_dict().items()}
    for text, message in (("{", "S410"), ("[" * 99, "S412"), ('{"a": 1, "a": 2}', "S411")):
        save_file(state, odd, metadata={"config": text})
        assert message in refusal(odd)
    save_file(state, odd, metadata={"config": '{"model": 7}'})
    assert "W274 nothing says" in refusal(odd)


def test_tensors_are_loaded_strictly(file, router, tmp_path):
    assert len(load_file(file)) == 35
    odd = tmp_path / "odd.safetensors"
    cases = {
        "W270 1 tensor missing": {"pooling.query.bias": None},
        "W271 1 tensor that no part": {"classifier.9.weight": torch.zeros(2)},
        "not three times the width": {
            "transformer.layers.0.self_attn.in_proj_weight": torch.zeros(64, 32),
            "transformer.layers.0.self_attn.in_proj_bias": torch.zeros(64),
        },
        "W272 frontend.conv.1.num_batches_tracked has the shape [7]": {
            "frontend.conv.1.num_batches_tracked": torch.zeros(7)
        },
    }
    for message, changed in cases.items():
        save_router(router, odd, **changed)
        assert message in refusal(odd)
