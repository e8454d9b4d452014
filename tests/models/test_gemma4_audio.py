"""Gemma-4's audio tower against transformers' own, layer by layer, and what it refuses."""

import json
import re

import mlx.core as mx
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Gemma4AudioConfig

from composer.components.models import gemma4_audio
from composer.core.errors import ComposerError
from tests.models.backends import BACKENDS, apply, arrays, family, plain
from tests.models.towers import Tower, copy_checkpoint
from tests.reference import gemma4_audio as reference
from tests.reference.qwen3_asr import make_clip

CLOSE = 1e-5
TOWER = "model.audio_tower."
tower = Tower("gemma4_audio")
spec, facts, load, error_text = tower.spec, tower.facts, tower.load, tower.error_text


@pytest.fixture(scope="module")
def theirs(one_thread):
    return reference.Gemma4Audio()


@pytest.fixture(scope="module")
def repo(theirs, tmp_path_factory):
    return theirs.write(tmp_path_factory.mktemp("gemma") / "repo")


@pytest.fixture(scope="module", params=BACKENDS)
def component(repo, request):
    return load(repo, backend=request.param)


@pytest.fixture
def copied(repo, tmp_path):
    """Return a copy, its tensors and config as the given functions change them."""

    def make(tensors=None, config=None):
        return copy_checkpoint(repo, tmp_path / "repo", tensors, config)

    return make


def read(folder):
    return (folder / "config.json").read_text()


def settings_of(component):
    return component.run.network.forward.args[0]


def features(theirs, seconds):
    mel, mask = theirs.features(make_clip(seconds))
    return mel[mask]


def close(found, want, tolerance=CLOSE):
    found = np.array(found.astype(mx.float32)) if isinstance(found, mx.array) else found
    return found.shape == want.shape and bool(np.abs(found - want).max() <= tolerance)


@pytest.mark.parametrize("seconds", [0.03, 0.7, 4.9])
def test_every_stage_and_layer_is_that_of_transformers(component, theirs, seconds):
    want = theirs.stages(make_clip(seconds))
    settings = settings_of(component)
    stem = lambda v, mel: gemma4_audio.subsample(v, settings, mel)  # noqa: E731
    x = apply(component, stem, features(theirs, seconds))
    assert close(x, want["stem"])
    for number in range(reference.LAYERS):
        at = f"audio_tower.layers.{number}."
        layer = lambda v, x, at=at: gemma4_audio.layer(v, at, settings, x)  # noqa: E731
        x = apply(component, layer, x)
        assert close(x, want[f"layer {number}"], 1e-4), number  # with the errors before it
        assert np.abs(want[f"layer {number}"]).max() > 0.3
        alone = apply(component, layer, want["stem" if number == 0 else f"layer {number - 1}"])
        assert close(alone, want[f"layer {number}"]), number
    project = lambda v, x: gemma4_audio.project(v, settings, x)  # noqa: E731
    assert close(apply(component, project, x), want["rows"], 1e-4)  # likewise
    alone = apply(component, project, want[f"layer {reference.LAYERS - 1}"])
    assert close(alone, want["rows"])


def test_a_frame_attends_to_itself_and_eleven_before_it(component):
    """One row further is another answer, one nearer too; and no row attends to a later one."""
    at, settings = "audio_tower.layers.0.self_attn.", settings_of(component)
    draw = np.random.default_rng(3).normal(0, 1, (40, reference.WIDTH)).astype(np.float32)

    def attend(x):
        return apply(component, lambda v, x: gemma4_audio.attention(v, at, settings, x), x)

    plain = attend(draw)
    for place in (0, 17, 39):
        other = draw.copy()
        other[place] += 1
        changed = np.flatnonzero(np.abs(attend(other) - plain).max(axis=1) > 1e-6)
        assert changed.tolist() == list(range(place, min(place + 12, 40)))


def test_what_is_nearly_right_does_not_pass(component, theirs):
    from dataclasses import replace

    want = theirs.stages(make_clip(0.7))["rows"]
    mel = features(theirs, 0.7)

    def rows(mel=mel, bounded=True, **changed):
        settings = replace(settings_of(component), **changed)

        def encode(v, mel):
            has = v.has
            if not bounded:
                v.has = lambda name: has(name) and not name.endswith(("_min", "_max"))
            return gemma4_audio.encode(v, settings, mel)

        return apply(component, encode, mel)

    assert close(rows(), want, 1e-4)
    wrong = {
        "one frame more to hear": rows(past=12),
        "one frame less to hear": rows(past=10),
        "another cap": rows(attention_softcap=5.0),
        "whole feed-forward layers": rows(residual_weight=1.0),
        "no bounds": rows(bounded=False),
        "a layer less": rows(num_layers=2),
        "mels upside down": rows(mel=mel[:, ::-1].copy()),
        "scaled as words are": rows() * want.shape[1] ** 0.5,
    }
    for why, found in wrong.items():
        assert not close(found, want, 1e-3), why
    assert rows(mel=mel[:-2]).shape[0] == len(want) - 1  # 69 frames make 18 rows, 67 one less


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_layout_of_mlx_gives_the_same_bits(copied, repo, theirs, backend):
    def ported(state):
        for name in list(state):
            value = state.pop(name)
            if name.startswith((TOWER, "model.embed_audio.")):
                state[name.removeprefix("model.")] = (
                    value.movedim(1, -1) if "conv" in name and value.ndim > 2 else value
                )

    component, other = load(repo, backend=backend), load(copied(ported), backend=backend)
    mel = arrays(component, features(theirs, 0.7))
    assert np.array_equal(plain(other(mel)), plain(component(mel)))
    assert other.run.network.tensors.keys() == component.run.network.tensors.keys()


@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.2), ("float16", 0.02)])
def test_other_precisions_are_near(repo, theirs, precision, tolerance):
    made = load(repo, precision)
    assert facts(repo, precision).nbytes * 2 == facts(repo).nbytes
    kind = getattr(mx, precision)
    rows = made(mx.array(features(theirs, 0.7)).astype(kind))
    assert rows.dtype == kind
    want = theirs.stages(make_clip(0.7))["rows"]
    assert close(rows, want, tolerance)
    assert not close(rows, want, 1e-4)


def test_a_projection_that_mlx_vlm_quantized_is_dequantized(copied, component, theirs):
    """It packs embed_audio with the decoder and leaves the tower as it is."""
    path = "model.embed_audio.embedding_projection"

    def widened(state):
        state["model.audio_tower.output_proj.weight"] = torch.nn.functional.pad(
            state["model.audio_tower.output_proj.weight"], (0, 0, 0, 24)
        )
        state["model.audio_tower.output_proj.bias"] = torch.nn.functional.pad(
            state["model.audio_tower.output_proj.bias"], (0, 24)
        )
        state[f"{path}.weight"] = torch.nn.functional.pad(state[f"{path}.weight"], (0, 24))

    plain = copied(widened, lambda messages: messages["audio_config"].update(output_proj_dims=64))
    mel = mx.array(features(theirs, 0.7))
    want = np.array(load(plain)(mel))
    state = load_file(plain / "model.safetensors")
    parts = mx.quantize(mx.array(state[f"{path}.weight"].numpy()), group_size=64, bits=8)
    for part, value in zip(("weight", "scales", "biases"), parts, strict=True):
        state[f"{path}.{part}"] = torch.from_numpy(np.array(value))
    save_file(state, plain / "model.safetensors", metadata={"format": "mlx"})
    messages = json.loads(read(plain))
    messages["quantization"] = {"group_size": 64, "bits": 8, "mode": "affine"}
    (plain / "config.json").write_text(json.dumps(messages))
    assert facts(plain).dims["D"].value == 96
    found = np.array(load(plain)(mel))
    assert close(found, want, 0.1)
    assert not close(found, want, 1e-5)


def test_nothing_else_of_the_checkpoint_is_its(repo, component):
    names = component.run.network.tensors
    assert all(name.startswith(("audio_tower.", "embed_audio.")) for name in names)
    known = facts(repo)
    assert known.notes == ()
    assert {symbol: bound.value for symbol, bound in known.dims.items()} == {"M": 128, "D": 96}
    assert known.dims["M"].witness.endswith("input_proj_linear.weight [48, 256]")


def drop(*names):
    return lambda state: [state.pop(TOWER + name) for name in names]


def put(name, value):
    return lambda state: state.update({TOWER + name: value})


def with_config(**changes):
    return lambda messages: messages["audio_config"].update(changes)


TENSORS = {
    "missing": (
        drop("layers.1.norm_out.weight", "output_proj.bias"),
        "W270 2 tensors missing\n    audio_tower.layers.1.norm_out.weight\n"
        "    audio_tower.output_proj.bias",
    ),
    "unexpected": (
        put("layers.0.norm_more.weight", torch.ones(48)),
        "W271 1 tensor that no part of a speech encoder has\n"
        "    audio_tower.layers.0.norm_more.weight",
    ),
    "beside the tower": (
        lambda state: state.update({"model.audio_adapter.weight": torch.ones(48)}),
        "W271 1 tensor of no part of such a checkpoint\n    audio_adapter.weight\n"
        "    its parts: vision_tower., audio_tower., ",
    ),
    "a bound that is a row": (
        put("layers.0.self_attn.q_proj.input_min", torch.zeros(1)),
        f"W272 {TOWER}layers.0.self_attn.q_proj.input_min has the shape [1]; expected no axis",
    ),
    "a kernel of no order": (
        put("layers.0.lconv1d.depthwise_conv1d.weight", torch.zeros(48, 5, 3)),
        f"W272 {TOWER}layers.0.lconv1d.depthwise_conv1d.weight has the shape [48, 5, 3]; "
        "expected [out, 1, kernel] or [out, kernel, 1]",
    ),
    "a width of its own": (
        put("layers.2.norm_out.weight", torch.ones(40)),
        "W272 the encoder's width is not the same in 1 tensor\n"
        "    48 comes from repo: model.audio_tower.subsample_conv_projection."
        "input_proj_linear.weight [48, 256]\n"
        "    40 comes from repo: model.audio_tower.layers.2.norm_out.weight [40]",
    ),
    "heads that do not divide": (
        lambda state: [put(f"layers.{n}.self_attn.per_dim_scale", torch.ones(13))(state)
                       for n in range(3)],
        "W272 the encoder's width is no multiple of the width of an attention head",
    ),
    "two dtypes": (
        put("output_proj.bias", torch.zeros(40, dtype=torch.bfloat16)),
        "W246 the tensors are stored in bf16 and f32",
    ),
    "twice": (
        lambda state: state.update({"audio_tower.output_proj.bias": torch.zeros(40)}),
        "W271 tensors are there twice, with model. before them too\n"
        "    audio_tower.output_proj.bias",
    ),
    "none": (
        lambda state: [state.pop(name) for name in list(state) if TOWER in name],
        "W222 repo has no audio_tower.*\n"
        "    hint: of Gemma-4, E2B and E4B have an audio tower; 26B-A4B and 31B have none",
    ),
    "packed and not announced": (
        lambda state: state.update(
            {"model.embed_audio.embedding_projection.scales": torch.ones(96, 1)}
        ),
        "W243 1 modules are quantized but config.json has no quantization",
    ),
}  # fmt: skip
CONFIGS = {
    "none": (
        lambda messages: messages.pop("audio_config"),
        "W274 repo/config.json has no audio_config",
    ),
    "layers": (
        with_config(num_hidden_layers=4),
        "W273 a config contradicts the number of layers\n"
        "    4 comes from repo/config.json: audio_config.num_hidden_layers\n"
        "    3 comes from repo: its layers",
    ),
    "heads": (
        with_config(num_attention_heads=8),
        "W273 a config contradicts the number of attention",
    ),
    "channels": (
        with_config(subsampling_conv_channels=[128, 32]),
        "W273 a config contradicts the channels of the second convolution",
    ),
    "another activation": (
        with_config(hidden_act="gelu"),
        "W273 audio_config.hidden_act is not silu, which is all that is computed",
    ),
    "frames that hear later ones": (
        with_config(attention_context_right=3),
        "W273 audio_config.attention_context_right is not 0, which is all that is computed",
    ),
    "chunks of another length": (
        with_config(attention_chunk_size=24),
        "W273 attention_chunk_size is not attention_context_left - 1, which is all that is "
        "computed\n    24 and 13 come from repo/config.json: audio_config",
    ),
    "bounds that are not there": (
        with_config(use_clipped_linears=False),
        "W273 use_clipped_linears contradicts the tensors\n"
        "    False comes from repo/config.json: audio_config.use_clipped_linears\n"
        "    repo has input_min of a layer",
    ),
    "no number": (
        with_config(attention_logit_cap="50"),
        "W273 audio_config.attention_logit_cap is no number above 0",
    ),
}


@pytest.mark.parametrize("why", TENSORS)
def test_tensors_that_do_not_fit(copied, why):
    change, messages = TENSORS[why]
    assert messages in error_text(copied(change))


@pytest.mark.parametrize("why", CONFIGS)
def test_configs_that_contradict(copied, why):
    change, messages = CONFIGS[why]
    assert messages in error_text(copied(config=change))


def test_everything_is_reported_at_once(copied):
    found = error_text(
        copied(drop("output_proj.bias"), with_config(num_hidden_layers=4, hidden_act="relu"))
    )
    assert re.findall(r"W\d{3}", found) == ["W270", "W273", "W273"]


def test_numbers_that_are_not_finite_are_refused(copied, repo, theirs):
    folder = copied(put("output_proj.bias", torch.full((40,), torch.nan)))
    with pytest.raises(ComposerError, match=r"S479 .*output_proj\.bias holds numbers that are NaN"):
        load(folder)
    with pytest.raises(ComposerError) as caught:
        load(repo)(mx.array(features(theirs, 0.7)) * mx.nan)
    assert str(caught.value).startswith("R551 the speech encoder gave numbers that are not finite")


def test_without_files_nothing_is_known():
    assert family("gemma4_audio", "mlx").facts(spec(None), None).unknown


def test_a_key_that_nothing_reads_is_refused(copied):
    folder = copied(config=lambda messages: messages["audio_config"].update(pos_gain=2.0))
    assert error_text(folder) == (
        "repo: W273 audio_config.pos_gain is no setting of this encoder\n"
        "    2.0 comes from repo/config.json: audio_config.pos_gain"
    )


def test_every_key_that_transformers_writes_is_known(copied):
    stated = Gemma4AudioConfig().to_dict()

    def add(messages):
        messages["audio_config"] = stated | messages["audio_config"]

    facts(copied(config=add))
