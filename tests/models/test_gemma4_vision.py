"""Gemma-4's vision towers against transformers' own, layer by layer, and what they refuse."""

import json
from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Gemma4VisionConfig

from composer.components.image.gemma4 import Gemma4Patches
from composer.components.models import gemma4_vision
from composer.core.errors import ComposerError
from composer.core.quantization_recipe import QuantizationRecipe
from composer.formats.image.reading import read_picture
from tests.components.test_pixels import picture
from tests.models.backends import BACKENDS, apply, arrays, family, plain
from tests.models.towers import Tower, copy_checkpoint
from tests.reference import gemma4_vision as reference

CLOSE = 1e-5
TOWER = "model.vision_tower."
KINDS = ("e2b", "31b")
SHAPES = ((60, 80), (20, 200), (300, 40))
tower = Tower("gemma4_vision")
spec, facts, load, error_text = tower.spec, tower.facts, tower.load, tower.error_text


@pytest.fixture(scope="module", params=KINDS)
def theirs(one_thread, request):
    return reference.Gemma4Vision(request.param)


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


def patches_of(pixels, budget=reference.BUDGET):
    config = Gemma4Patches.Config(max_soft_tokens=budget, patch_size=reference.PATCH)
    return Gemma4Patches(config)(read_picture(pixels))["out"]


def settings_of(component):
    return component.run.network.forward.args[0]


def places_of(patches):
    """Return the patches in their own order, and where each is, as the network takes them."""
    rows, columns, width = patches.shape
    below, right = np.indices((rows, columns)).reshape(2, -1)
    return patches.reshape(-1, width), right, below


def by_squares(x, patches):
    """Return rows of patches in the order of their squares of 3 x 3."""
    rows, columns, _ = patches.shape
    grid = x.reshape(rows // 3, 3, columns // 3, 3, -1)
    return grid.transpose(0, 2, 1, 3, 4).reshape(len(x), -1)


def close(found, want, tolerance=CLOSE):
    return found.shape == want.shape and bool(np.abs(found - want).max() <= tolerance)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_stage_and_layer_is_that_of_transformers(component, theirs, shape):
    pixels = picture(*shape)
    want, patches = theirs.stages(pixels), patches_of(pixels)
    settings, (flat, right, below) = settings_of(component), places_of(patches)
    x = apply(component, partial_of(gemma4_vision.embed, settings), flat, right, below)
    assert close(x, want["embedded"])
    for number in range(reference.LAYERS):
        at = f"vision_tower.encoder.layers.{number}."

        def layer(v, x, columns, rows, at=at):
            rotations = gemma4_vision.rotary_tables(v, settings, columns, rows)
            return gemma4_vision.layer(v, at, settings, x, rotations)

        before = want["embedded" if number == 0 else f"layer {number - 1}"]
        x = apply(component, layer, x, right, below)
        assert close(x, want[f"layer {number}"], 1e-4), number
        assert np.abs(want[f"layer {number}"]).max() > 1
        alone = apply(component, layer, before, right, below)
        assert close(alone, want[f"layer {number}"], 2 * CLOSE), number
    squares = by_squares(want[f"layer {reference.LAYERS - 1}"], patches)
    pooled = apply(component, partial_of(gemma4_vision.pool, settings), squares)
    assert close(pooled, want["pooled"], 2 * CLOSE)
    rows = apply(component, partial_of(gemma4_vision.project, settings), want["pooled"])
    assert close(rows, want["rows"])
    assert close(plain(component(arrays(component, patches))), want["rows"], 1e-4)


def partial_of(function, settings):
    """Bind a part's settings, behind the blocks that come first."""
    return lambda v, *inputs: function(v, settings, *inputs)


def test_what_is_nearly_right_does_not_pass(component, theirs):
    pixels = picture(60, 80)
    want, patches = theirs.stages(pixels)["rows"], patches_of(pixels)
    settings = settings_of(component)
    rows, columns, _ = patches.shape
    right, below = places_of(patches)[1:]
    flat, right, below = (
        by_squares(each.reshape(rows * columns, -1), patches) for each in (patches, right, below)
    )
    right, below = right.ravel(), below.ravel()

    def encoded(flat=flat, right=right, below=below, without=(), scale=1.0, **changed):
        def encode(v, x, columns, rows):
            has, attention = v.has, v.attention
            v.has = lambda name: has(name) and not name.endswith(without or " ")
            v.attention = lambda q, k, v, heads, _: attention(q, k, v, heads, scale)
            return gemma4_vision.encode(v, replace(settings, **changed), x, columns, rows)

        return apply(component, encode, flat, right, below)

    assert close(encoded(), want, 1e-4)
    raster = places_of(patches)
    padded = [
        np.concatenate([x, np.zeros((9, *x.shape[1:]), x.dtype)]) for x in (flat, right, below)
    ]
    wrong = {
        "pooled along the rows": encoded(*raster),
        "transposed positions": encoded(right=below, below=right),
        "no columns": encoded(right=np.zeros_like(right)),
        "padding that is not masked": encoded(*padded)[: len(want)],
        "pixels of 0 to 255": encoded(flat=flat * np.float32(255)),
        "channels outermost": encoded(
            flat=flat.reshape(len(flat), -1, 3).transpose(0, 2, 1).reshape(flat.shape)
        ),
        "scaled by the width of a head": encoded(scale=settings.head_dim**-0.5),
        "another base": encoded(theta=1e4),
        "a layer less": encoded(num_layers=2),
        "scaled as words are": encoded() * want.shape[1] ** 0.5,
    }  # fmt: skip
    if settings.standardize:
        wrong["not standardized"] = encoded(standardize=False)
    else:
        wrong["no bounds"] = encoded(without=("_min", "_max"))
    for why, found in wrong.items():
        assert not close(found, want, 1e-3), why


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_layout_of_mlx_gives_the_same_bits(copied, repo, backend):
    def ported(state):
        for name in list(state):
            state[name.removeprefix("model.")] = state.pop(name)

    component, other = load(repo, backend=backend), load(copied(ported), backend=backend)
    patches = arrays(component, patches_of(picture(60, 80)))
    assert np.array_equal(plain(other(patches)), plain(component(patches)))
    assert other.run.network.tensors.keys() == component.run.network.tensors.keys()


@pytest.mark.parametrize(("precision", "tolerance"), [("bfloat16", 0.4), ("float16", 0.05)])
def test_other_precisions_are_near(repo, theirs, precision, tolerance):
    made = load(repo, precision)
    assert facts(repo, precision).nbytes * 2 == facts(repo).nbytes
    pixels = picture(60, 80)
    rows = made(mx.array(patches_of(pixels)))
    assert rows.dtype == getattr(mx, precision)
    want = theirs.stages(pixels)["rows"]
    assert close(plain(rows), want, tolerance)
    assert not close(plain(rows), want, 1e-4)


def test_a_projection_that_mlx_vlm_quantized_is_dequantized(tmp_path):
    """It packs embed_vision with the decoder where its rows are whole groups."""
    path = "model.embed_vision.embedding_projection"
    made = reference.Gemma4Vision("e2b", hidden_size=64)
    folder, pixels = made.write(tmp_path / "repo"), picture(60, 80)
    state = load_file(folder / "model.safetensors")
    parts = mx.quantize(mx.array(state[f"{path}.weight"].numpy()), group_size=64, bits=8)
    for part, value in zip(("weight", "scales", "biases"), parts, strict=True):
        state[f"{path}.{part}"] = torch.from_numpy(np.array(value))
    save_file(state, folder / "model.safetensors", metadata={"format": "mlx"})
    messages = json.loads((folder / "config.json").read_text())
    messages["quantization"] = {"group_size": 64, "bits": 8, "mode": "affine"}
    (folder / "config.json").write_text(json.dumps(messages))
    assert facts(folder).dims["D"].value == 96
    found, want = plain(load(folder)(mx.array(patches_of(pixels)))), made.stages(pixels)["rows"]
    assert close(found, want, 0.1)
    assert not close(found, want, 1e-4)


def test_nothing_else_of_the_checkpoint_is_its(repo, component):
    names = component.run.network.tensors
    assert all(name.startswith(("vision_tower.", "embed_vision.")) for name in names)
    known = facts(repo)
    assert known.notes == ()
    assert {symbol: bound.value for symbol, bound in known.dims.items()} == {"P": 48, "D": 96}
    assert known.dims["P"].witness.endswith("input_proj.weight [48, 48]")


def drop(*names):
    return lambda state: [state.pop(TOWER + name) for name in names]


def put(name, value):
    return lambda state: state.update({TOWER + name: value})


def with_config(**changes):
    return lambda messages: messages["vision_config"].update(changes)


TENSORS = {
    "missing": (
        drop("encoder.layers.1.self_attn.q_norm.weight"),
        "W270 1 tensor missing\n    vision_tower.encoder.layers.1.self_attn.q_norm.weight",
    ),
    "unexpected": (
        put("encoder.layers.0.self_attn.v_norm.weight", torch.ones(16)),
        "W271 1 tensor that no part of a vision tower has\n"
        "    vision_tower.encoder.layers.0.self_attn.v_norm.weight",
    ),
    "beside the tower": (
        lambda state: state.update({"model.vision_adapter.weight": torch.ones(48)}),
        "W271 1 tensor of no part of such a checkpoint\n    vision_adapter.weight\n"
        "    its parts: vision_tower., audio_tower., ",
    ),
    "a table of one axis of positions": (
        put("patch_embedder.position_embedding_table", torch.ones(1, 96, 48)),
        f"W272 {TOWER}patch_embedder.position_embedding_table has the shape [1, 96, 48]; "
        "expected [2, positions, width]",
    ),
    "a width of its own": (
        put("encoder.layers.2.input_layernorm.weight", torch.ones(40)),
        "W272 the encoder's width is not the same in 1 tensor\n    48 comes from repo: "
        "model.vision_tower.patch_embedder.input_proj.weight [48, 48]\n"
        "    40 comes from repo: model.vision_tower.encoder.layers.2.input_layernorm.weight [40]",
    ),
    "two dtypes": (
        put("encoder.layers.2.input_layernorm.weight", torch.ones(48, dtype=torch.bfloat16)),
        "W246 the tensors are stored in bf16 and f32",
    ),
    "twice": (
        lambda state: state.update(
            {"embed_vision.embedding_projection.weight": torch.zeros(96, 48)}
        ),
        "W271 tensors are there twice, with model. before them too\n"
        "    embed_vision.embedding_projection.weight",
    ),
    "no tower": (
        lambda state: [state.pop(name) for name in list(state) if TOWER in name],
        "W222 repo has no vision_tower.*",
    ),
}
CONFIGS = {
    "none": (
        lambda messages: messages.pop("vision_config"),
        "W274 repo/config.json has no vision_config, which says how many patches become a row",
    ),
    "heads": (
        with_config(num_attention_heads=4),
        "W273 a config contradicts the number of attention heads\n"
        "    4 comes from repo/config.json: vision_config.num_attention_heads",
    ),
    "an activation": (
        with_config(hidden_activation="gelu"),
        "W273 vision_config.hidden_activation is not gelu_pytorch_tanh, which is all that is "
        "computed",
    ),
    "another way to turn": (
        with_config(rope_parameters={"rope_type": "yarn", "rope_theta": 100.0, "factor": 2.0}),
        "W273 vision_config.rope_parameters has more than rope_theta, or a rope_type that is "
        "neither default nor axial",
    ),
    "no pool": (
        with_config(pooling_kernel_size=0),
        "W273 vision_config.pooling_kernel_size is no number above 0",
    ),
    "half a patch": (
        with_config(pooling_kernel_size=1.5),
        "W273 vision_config.pooling_kernel_size is 1.5, which is no whole number",
    ),
}


@pytest.mark.parametrize("why", TENSORS)
def test_tensors_that_do_not_fit(copied, why):
    change, message = TENSORS[why]
    assert message in error_text(copied(change))


@pytest.mark.parametrize("why", CONFIGS)
def test_configs_that_contradict(copied, why):
    change, message = CONFIGS[why]
    assert message in error_text(copied(config=change))


def test_flags_that_contradict_the_tensors(copied, theirs):
    clipped = reference.TOWERS[theirs.kind]["use_clipped_linears"]
    flipped = with_config(use_clipped_linears=not clipped, standardize=clipped)
    text = error_text(copied(config=flipped))
    assert "W273 use_clipped_linears contradicts the tensors" in text
    assert "W273 standardize contradicts the tensors" in text


def test_a_recipe_that_does_not_divide_is_refused(repo):
    recipe = QuantizationRecipe(bits=4, group_size=64)
    message = "W246 vision_tower.patch_embedder.input_proj has 48 columns, not a multiple of the"
    assert message in error_text(repo, recipe)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_recipe_packs_the_tower(tmp_path, backend):
    wide = {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 4}
    made = reference.Gemma4Vision("31b", **wide, num_key_value_heads=4, patch_size=8)
    folder, pixels = made.write(tmp_path / "repo"), picture(60, 80)
    recipe = QuantizationRecipe(bits=8, group_size=64)
    made.processor.patch_size = 8
    component, want = load(folder, recipe, backend), made.stages(pixels)["rows"]
    config = Gemma4Patches.Config(max_soft_tokens=reference.BUDGET, patch_size=8)
    patches = Gemma4Patches(config)(read_picture(pixels))["out"]
    found = plain(component(arrays(component, patches)))
    assert close(found, want, 0.2)
    assert not close(found, want, 1e-4)


def test_patches_that_make_no_squares_are_refused(component):
    patches = arrays(component, np.zeros((9, 10, 48), np.float32))
    with pytest.raises(ComposerError) as caught:
        component(patches)
    assert str(caught.value) == (
        "R550 9 x 10 patches make no squares of 3 x 3\n"
        "    hint: let image.gemma4 prepare the picture, with pooling_kernel_size 3"
    )
    patches = arrays(component, np.zeros((3, 99, 48), np.float32))
    with pytest.raises(ComposerError, match=r"R550 3 x 99 patches are more than the tower's 96"):
        component(patches)


def test_numbers_that_are_not_finite_are_refused(copied, repo):
    folder = copied(put("patch_embedder.input_proj.weight", torch.full((48, 48), torch.nan)))
    with pytest.raises(
        ComposerError, match=r"S479 .*input_proj\.weight holds numbers that are NaN"
    ):
        load(folder)
    with pytest.raises(ComposerError) as caught:
        load(repo)(mx.array(patches_of(picture(60, 80))) * mx.nan)
    assert str(caught.value).startswith("R551 the vision tower gave numbers that are not finite")


def test_without_files_nothing_is_known():
    assert family("gemma4_vision", "mlx").facts(spec(None), None).unknown


def test_a_key_that_nothing_reads_is_refused(copied):
    folder = copied(config=with_config(pos_gain=2.0))
    assert error_text(folder) == (
        "repo: W273 vision_config.pos_gain is no setting of this encoder\n"
        "    2.0 comes from repo/config.json: vision_config.pos_gain"
    )


def test_every_key_that_transformers_writes_is_known(copied):
    stated = Gemma4VisionConfig().to_dict()

    def add(messages):
        messages["vision_config"] = stated | messages["vision_config"]

    facts(copied(config=add))
