"""Qwen3-ASR's audio encoder against transformers' own, in every published layout."""

import json
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from composer.components.models import qwen3_asr_audio
from composer.core.errors import ComposerError
from tests.models.backends import BACKENDS, arrays, plain
from tests.models.towers import Tower, copy_checkpoint
from tests.reference.qwen3_asr import make_clip, make_model, make_tokenizer

CLOSE = 1e-4
tower = Tower("qwen3_asr_audio")
spec, facts, load = tower.spec, tower.facts, tower.load
SECONDS = [0.35, 0.61, 1.0, 3.375, 7.99, 8.0, 8.01, 17.5]


@pytest.fixture(scope="module")
def model(one_thread):
    return make_model(make_tokenizer())


@pytest.fixture(scope="module")
def repo(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("qwen") / "repo"
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def released(repo, tmp_path_factory):
    """Return the same weights under the names of the release."""

    def renamed(name):
        name = name.replace("multi_modal_projector.linear_1.", "audio_tower.proj1.")
        name = name.replace("multi_modal_projector.linear_2.", "audio_tower.proj2.")
        name = name.replace("language_model.", "model.")
        return name.replace("model.", "thinker.", 1)

    def nested(config):
        inner = {key: config.pop(key) for key in ("audio_config", "text_config")}
        inner["audio_config"] |= {"model_type": "qwen3_asr_audio_encoder", "conv_chunksize": 500}
        config["thinker_config"] = inner

    folder = tmp_path_factory.mktemp("qwen") / "released"
    return copy_checkpoint(repo, folder, lambda state: rename(state, renamed), nested)


@pytest.fixture(scope="module")
def converted(released, tmp_path_factory):
    """Return the same weights as MLX's conversions have them."""

    def ported(state):
        rename(state, lambda name: name.removeprefix("thinker."))
        for name in state:
            if "conv2d" in name and name.endswith("weight"):
                state[name] = state[name].movedim(1, -1)

    return copy_checkpoint(released, tmp_path_factory.mktemp("qwen") / "converted", ported)


@pytest.fixture(scope="module", params=BACKENDS)
def component(repo, request):
    return load(repo, backend=request.param)


def rename(state, how):
    for name in list(state):
        state[how(name)] = state.pop(name)


def features(seconds):
    """Return log-mel [128, F] as transformers computes it, without padding."""
    import transformers

    extractor = transformers.Qwen3ASRFeatureExtractor()
    found = extractor(make_clip(seconds), sampling_rate=16_000, return_attention_mask=True)
    mask = found["attention_mask"] if "attention_mask" in found else found["input_features_mask"]
    return np.asarray(found["input_features"][0])[:, : int(np.asarray(mask).sum())]


def reference(model, mel):
    """Return transformers' rows [N, D] of log-mel [128, F]."""
    frames = mel.shape[1]
    padded = torch.nn.functional.pad(torch.from_numpy(mel), (0, -frames % 100))[None]
    mask = (torch.arange(padded.shape[2]) < frames)[None].long()
    with torch.no_grad():
        return model.get_audio_features(padded, mask).pooler_output.numpy()


def close(found, want, tolerance=CLOSE):
    return found.shape == want.shape and bool(np.abs(found - want).max() <= tolerance)


@pytest.mark.parametrize("seconds", SECONDS)
def test_rows_are_those_of_transformers(component, model, seconds):
    mel = features(seconds)
    want = reference(model, mel)
    assert close(plain(component(arrays(component, mel))), want)
    assert np.abs(want).max() > 0.3


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("layout", ["released", "converted"])
def test_every_layout_gives_the_same_bits(repo, layout, backend, request):
    component = load(repo, backend=backend)
    other = load(request.getfixturevalue(layout), backend=backend)
    mel = arrays(component, features(8.3))
    assert np.array_equal(plain(other(mel)), plain(component(mel)))


def test_what_is_nearly_right_does_not_pass(component, model):
    mel = features(17.5)
    want = reference(model, mel)

    def rows(mel=mel, **changed):
        made = component.__class__(component.stem, component.encode, component.windows)
        for name, value in changed.items():
            setattr(made, name, value)
        return plain(made(arrays(component, mel)))

    assert close(rows(), want)
    run_on = component.stem

    def without_restart(mel, adapters):
        x = plain(run_on(mel))
        table = qwen3_asr_audio.sinusoids(len(x), x.shape[1])
        again = np.tile(table[:13], (len(x) // 13, 1))
        return arrays(component, x + table - again)

    wrong = {
        "a second more to attend to": rows(windows=replace(component.windows, chunks=9)),
        "all rows attend to each other": rows(windows=replace(component.windows, chunks=99)),
        "positions that run on": rows(stem=without_restart),
        "mels upside down": rows(mel=mel[::-1].copy()),
        "a frame less": rows(mel=mel[:, :-1]),
    }
    for why, found in wrong.items():
        assert not close(found, want, 1e-3), why
    assert len(rows(mel=mel[:, :1744])) == len(want) - 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_matrices_that_mlx_quantized_are_dequantized(converted, tmp_path, backend):
    """Every Linear whose width 64 divides is packed, the head and the decoder beside it."""
    bits = {"group_size": 32, "bits": 8, "mode": "affine"}
    state = load_file(converted / "model.safetensors")
    exact, packed = dict(state), dict(state)
    for name in state:
        if not name.endswith("proj.weight") or not name.startswith("audio_tower.layers."):
            continue
        path = name.removesuffix(".weight")
        parts = mx.quantize(mx.array(state[name].numpy()), group_size=32, bits=8)
        for part, value in zip(("weight", "scales", "biases"), parts, strict=True):
            packed[f"{path}.{part}"] = torch.from_numpy(np.array(value))
        exact[name] = torch.from_numpy(np.array(mx.dequantize(*parts, group_size=32, bits=8)))
    for folder, tensors in (("exact", exact), ("packed", packed)):
        copy_checkpoint(converted, tmp_path / folder, lambda state, t=tensors: state.update(t))
    config = json.loads((converted / "config.json").read_text()) | {"quantization": bits}
    (tmp_path / "packed/config.json").write_text(json.dumps(config))
    mel = features(1.3)

    def rows(folder):
        component = load(folder, backend=backend)
        return plain(component(arrays(component, mel)))

    found = rows(tmp_path / "packed")
    assert close(found, rows(tmp_path / "exact"), 1e-5)
    assert not close(found, rows(converted), 1e-5)


@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.3), ("float16", 0.03)])
def test_other_precisions_are_near(repo, model, precision, tolerance):
    made = load(repo, precision)
    kind = getattr(mx, precision)
    rows = made(mx.array(features(3.375)).astype(kind))
    assert rows.dtype == kind
    want = reference(model, features(3.375))
    assert close(plain(rows), want, tolerance)
    assert not close(plain(rows), want, 1e-5)


def test_sizes_come_from_the_tensors(repo):
    known = facts(repo)
    assert {symbol: bound.value for symbol, bound in known.dims.items()} == {"M": 128, "D": 128}
    assert known.dims["D"].witness.endswith("linear_2.weight [128, 64]")
    assert known.notes == ()


def changed(**values):
    return lambda config: config["audio_config"].update(values)


def without(key):
    return lambda config: config["audio_config"].pop(key)


def dropped(*names):
    return lambda state: [state.pop(f"model.audio_tower.{name}") for name in names]


REFUSED = {
    "missing": (dropped("ln_post.bias"), None, "W270 1 tensor missing\n    ln_post.bias"),
    "unexpected": (
        lambda state: state.update({"model.audio_tower.layers.0.fc3.weight": torch.ones(64)}),
        None,
        "W271 1 tensor that no part of a speech encoder has",
    ),
    "beside the encoder": (
        lambda state: state.update({"model.audio_adapter.weight": torch.ones(64)}),
        None,
        "W271 1 tensor of no part of such a checkpoint\n    audio_adapter.weight\n"
        "    its parts: audio_tower., multi_modal_projector., model., language_model., lm_head.\n"
        "    hint: take them out of the checkpoint",
    ),
    "no encoder": (
        lambda state: [state.pop(name) for name in list(state) if "audio_tower" in name],
        None,
        "W222 repo has no audio_tower.conv2d1.weight",
    ),
    "two": (
        lambda state: state.update(
            {"more.audio_tower.conv2d1.weight": state["model.audio_tower.conv2d1.weight"].clone()}
        ),
        None,
        "W222 repo has several audio_tower.conv2d1.weight",
    ),
    "no config": (None, lambda config: config.pop("audio_config"), "W274 repo/config.json has no"),
    "another activation": (
        None,
        changed(activation_function="relu"),
        "W273 audio_config.activation_function is not gelu, which is all that is computed",
    ),
    "scaled embeddings": (None, changed(scale_embedding=True), "W273 audio_config.scale_embedding"),
    "mels": (
        None,
        changed(num_mel_bins=80),
        "W272 conv_out takes 256 numbers, not an eighth of the mels by channel",
    ),
    "layers": (None, changed(encoder_layers=4), "W273 a config contradicts the number of layers"),
    "heads": (
        None,
        changed(encoder_attention_heads=3),
        "W274 3 attention heads do not divide a width of 64",
    ),
    "no heads": (None, without("encoder_attention_heads"), "W274 repo/config.json has no"),
    "windows": (
        None,
        changed(n_window_infer=850),
        "W273 n_window_infer is no multiple of twice n_window",
    ),
    "no window": (None, changed(n_window=0), "W273 audio_config.n_window is no number of frames"),
    "a key that nobody knows": (
        None,
        changed(pos_gain=2.0),
        "W273 audio_config.pos_gain is no setting of this encoder",
    ),
    "another model": (None, changed(model_type="whisper"), "W273 audio_config.model_type is"),
}


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_what_contradicts_is_refused(repo, tmp_path, case):
    tensors, config, message = REFUSED[case]
    with pytest.raises(ComposerError) as caught:
        facts(copy_checkpoint(repo, tmp_path / "repo", tensors, config))
    assert message in str(caught.value)


def test_no_frames_are_refused(component):
    with pytest.raises(ComposerError, match="R550"):
        component(arrays(component, np.zeros((128, 0), np.float32)))
