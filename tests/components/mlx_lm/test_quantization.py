"""Quantized checkpoints, and recipes that quantize while loading."""

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
import torch
from mlx.utils import tree_flatten

from composer.components.mlx.lm import MlxLanguageModel
from composer.core.quantization_recipe import QuantizationRecipe, QuantizationRule
from composer.core.weight_group import bits_per_weight
from composer.formats import Headers
from composer.manifest.recipes import recipes
from tests.components.checkpoint_files import rename
from tests.components.mlx_lm.models import (
    IDS,
    ROWS,
    SCHEMES,
    WIDTH,
    dequantized,
    edit,
    error_text,
    f32,
    load,
    quantized,
    spec,
    table_of,
    torch_model,
    without,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("tied", [True, False])
def test_quantized_checkpoints_load_as_published(tmp_path, name, tied):
    from mlx_lm.utils import load_model

    folder = quantized(torch_model(tied=tied), tmp_path / "lm", *SCHEMES[name])
    lm, facts = load(folder), MlxLanguageModel.facts(spec(folder), Headers())
    assert {symbol: bound.value for symbol, bound in facts.dims.items()} == {"D": WIDTH, "V": ROWS}
    theirs, _ = load_model(folder)
    ours, parameters = (dict(tree_flatten(model.parameters())) for model in (lm.model, theirs))
    assert ours.keys() == parameters.keys()
    assert all(mx.array_equal(ours[key], parameters[key]) for key in ours)
    assert facts.nbytes == sum(value.nbytes for value in ours.values())
    ids = mx.array(IDS)
    embeds = lm.embed(ids)
    np.testing.assert_array_equal(f32(embeds), f32(theirs.model.embed_tokens(ids)))
    np.testing.assert_array_equal(f32(lm.logits(embeds)), f32(theirs(ids[None])[0]))
    plain = dequantized(torch_model(tied=tied), lm)
    with torch.no_grad():
        reference = plain(torch.tensor(IDS)[None]).logits[0].numpy()
    error = np.abs(f32(lm.logits(embeds)) - reference).max()
    assert error < 1e-3 * np.abs(reference).max()


def test_a_packed_table_is_dequantized_by_its_module(tmp_path):
    folder = quantized(torch_model(), tmp_path / "lm", *SCHEMES["uniform 4"])
    facts = MlxLanguageModel.facts(spec(folder), Headers())
    assert facts.dims["D"].witness == "repo/lm: model.embed_tokens.weight [192, 8] of 4 bits"
    assert facts.dtype == "f32"


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_scales_take_the_precision_and_packed_weights_do_not(tmp_path, precision):
    folder = quantized(torch_model(), tmp_path / "lm", *SCHEMES["uniform 8"])
    lm = load(folder, precision)
    parameters = dict(tree_flatten(lm.model.parameters()))
    kinds = {name.rpartition(".")[2]: str(value.dtype) for name, value in parameters.items()}
    assert kinds["scales"] == kinds["biases"] == f"mlx.core.{precision}"
    assert str(parameters["model.layers.0.mlp.up_proj.weight"].dtype) == "mlx.core.uint32"
    assert str(lm.embed(mx.array([3])).dtype) == f"mlx.core.{precision}"
    facts = MlxLanguageModel.facts(spec(folder, precision), Headers())
    assert facts.nbytes == sum(value.nbytes for value in parameters.values())


RECIPE = QuantizationRecipe(4, 64, {"*.self_attn.*": QuantizationRule(8, 32)}, ("*.layers.0.*",))


def test_a_recipe_quantizes_projections_and_nothing_else(qwen3):
    _, plain, folder = qwen3
    lm = load(folder, RECIPE)
    packed = {path: m.bits for path, m in lm.model.named_modules() if "scales" in m}
    assert packed == {
        f"model.layers.{layer}.{part}": bits
        for layer in (1, 2)
        for parts, bits in (
            (("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"), 8),
            (("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"), 4),
        )
        for part in parts
    }
    weight = plain.model.model.layers[1].mlp.up_proj.weight
    wanted = mx.quantize(weight, group_size=64, bits=4)
    module = lm.model.model.layers[1].mlp.up_proj
    for found, each in zip((module.weight, module.scales, module.biases), wanted, strict=True):
        assert mx.array_equal(found, each)
    facts = MlxLanguageModel.facts(spec(folder, RECIPE), Headers())
    assert facts.nbytes == sum(v.nbytes for _, v in tree_flatten(lm.model.parameters()))
    reference = dequantized(torch_model(), lm)
    with torch.no_grad():
        theirs = reference(torch.tensor(IDS)[None]).logits[0].numpy()
    ours = f32(lm.logits(lm.embed(mx.array(IDS))))
    assert np.abs(ours - theirs).max() < 1e-3 * np.abs(theirs).max()
    assert np.abs(ours - f32(plain.logits(plain.embed(mx.array(IDS))))).max() > 1e-2


def test_a_rule_that_names_the_table_quantizes_it_too(qwen3):
    _, _, folder = qwen3
    recipe = QuantizationRecipe(4, 64, {"*.embed_tokens": QuantizationRule(8, 64)})
    assert load(folder, recipe).model.model.embed_tokens.bits == 8
    everything = QuantizationRecipe(4, 64, {"*": QuantizationRule(8, 64)})
    assert not hasattr(load(folder, everything).table, "bits")


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            QuantizationRecipe(4, 64, {"*.attention.*": QuantizationRule(8, 64)}, ("lm_head",)),
            "W246 the glob '*.attention.*' in precision matches no module with a matrix\n"
            "W246 the glob 'lm_head' in precision matches no module",
        ),
        (
            QuantizationRecipe(4, 128),
            "W246 model.layers.0.mlp.gate_proj has 64 columns, not a multiple of the group size "
            "128\n    hint: choose a smaller group_size, or list it under keep",
        ),
        (
            QuantizationRecipe(4, 64, keep=("*",)),
            "W246 precision is a recipe that quantizes nothing",
        ),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(folder, recipe, message):
    assert message in error_text(folder, recipe)


def test_what_is_quantized_is_not_quantized_again(tmp_path):
    folder = quantized(torch_model(), tmp_path / "lm", *SCHEMES["mixed 8-4"])
    assert error_text(folder, QuantizationRecipe(4)) == (
        "W246 precision is a recipe, but 21 modules are quantized already\n"
        "    hint: give the unquantized weights, or leave precision out"
    )


PATH = "model.layers.1.mlp.up_proj"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda f: edit(f, quantization=table_of(f) | {PATH: {"group_size": 64, "bits": 8}}),
            f"W243 {PATH} is 8 bits in groups of 64, affine, but its shapes are not\n"
            "    weight u32 [128, 8]\n    scales f32 [128, 1]\n    biases f32 [128, 1]",
        ),
        (
            lambda f: edit(
                f, quantization=table_of(f) | {"model.layers.7.mlp.up_proj": {"bits": 4}}
            ),
            "W243 quantization names model.layers.7.mlp.up_proj, which is not there",
        ),
        (
            lambda f: edit(f, quantization=table_of(f) | {PATH: False}),
            f"W243 quantization says false for {PATH}, which is quantized",
        ),
        (
            lambda f: rename(f, lambda state: without(state, f"{PATH}.scales")),
            f"W243 {PATH} is 4 bits in groups of 64, affine, but has no scales\n",
        ),
        (
            lambda f: rename(f, lambda state: without(state, f"{PATH}.biases")),
            f"W243 {PATH} is 4 bits in groups of 64, affine, but has no biases\n",
        ),
        (
            lambda f: rename(
                f, lambda state: state.update({f"{PATH}.weight": torch.zeros(128, 64)})
            ),
            f"W243 {PATH} is 4 bits in groups of 64, affine, but is not stored so\n",
        ),
        (
            lambda f: edit(f, quantization=None, quantization_config=None),
            "W243 21 modules are quantized but config.json has no quantization\n",
        ),
        (
            lambda f: edit(f, quantization=None, quantization_config={"quant_method": "awq"}),
            "W243 the weights are quantized by 'awq', which mlx.lm does not read\n",
        ),
    ],
)
def test_a_quantization_that_contradicts_the_tensors_is_refused(tmp_path, spoil, message):
    folder = quantized(torch_model(), tmp_path / "lm", *SCHEMES["mixed 8-4"])
    MlxLanguageModel.facts(spec(folder), Headers())
    spoil(folder)
    assert message in error_text(folder)


def test_a_wrong_default_is_reported_a_few_times(tmp_path):
    folder = quantized(torch_model(), tmp_path / "lm", *SCHEMES["uniform 4"])
    edit(folder, quantization=table_of(folder) | {"bits": 8})
    text = error_text(folder)
    assert text.count("8 bits in groups of 64, affine, but its shapes are not") == 8
    assert "W243 14 more modules are wrong in the same way" in text


def test_a_quantization_of_nothing_is_refused(folder):
    edit(folder, quantization={"group_size": 64, "bits": 4})
    assert "W243 quantization is set but no tensor is quantized" in error_text(folder)


MODES = {"mxfp4": (4, 32), "mxfp8": (8, 32), "nvfp4": (4, 16)}


@pytest.mark.parametrize("mode", MODES)
def test_a_recipe_packs_in_every_mode_of_mlx(qwen3, mode):
    _, _, folder = qwen3
    recipe = QuantizationRecipe(*MODES[mode], mode=mode)
    lm = load(folder, recipe)
    module = lm.model.model.layers[1].mlp.up_proj
    assert (module.mode, module.bits, module.group_size) == (mode, *MODES[mode])
    facts = MlxLanguageModel.facts(spec(folder, recipe), Headers())
    assert facts.nbytes == sum(v.nbytes for _, v in tree_flatten(lm.model.parameters()))
    reference = dequantized(torch_model(), lm)
    with torch.no_grad():
        theirs = reference(torch.tensor(IDS)[None]).logits[0].numpy()
    ours = f32(lm.logits(lm.embed(mx.array(IDS))))
    assert np.abs(ours - theirs).max() < 1e-3 * np.abs(theirs).max()


def test_a_dtype_beside_a_recipe_is_what_it_computes_in(folder):
    plain, recipe = load(folder, QuantizationRecipe(8)), QuantizationRecipe(8, dtype="float16")
    lm = load(folder, recipe)
    ours, theirs = (each.model.model.layers[0].mlp.up_proj for each in (lm, plain))
    assert mx.array_equal(ours.weight, theirs.weight)
    assert mx.array_equal(ours.scales, theirs.scales.astype(mx.float16))
    facts = MlxLanguageModel.facts(spec(folder, recipe), Headers())
    assert facts.dtype == "f16"
    assert facts.nbytes == sum(v.nbytes for _, v in tree_flatten(lm.model.parameters()))


def test_a_named_recipe_is_for_every_architecture(qwen3):
    _, _, folder = qwen3
    recipe = recipes()["uniform-8"].quantization
    packed = {path for path, m in load(folder, recipe).model.named_modules() if "scales" in m}
    assert "model.embed_tokens" in packed
    groups = MlxLanguageModel.facts(spec(folder, recipe), Headers()).weights
    assert [(group.kind, group.form, group.modules) for group in groups] == [
        ("embeddings", "8 bits, groups of 64", 1),
        ("attention", "8 bits, groups of 64", 12),
        ("MLP", "8 bits, groups of 64", 9),
        ("others", "f32", 13),
    ]
    assert 8 < bits_per_weight(groups) < 10


def test_a_named_recipe_leaves_what_its_groups_do_not_divide(folder):
    named = replace(RECIPE, rules={"*.embed_tokens": QuantizationRule(8, 128)}, name="mine")
    (note,) = MlxLanguageModel.facts(spec(folder, named), Headers()).notes
    assert str(note) == (
        "L337 warning: mine leaves as stored what its groups do not divide: model.embed_tokens\n"
        "    model.embed_tokens has 64 columns, which its groups do not divide\n"
        "    hint: take a smaller group_size for them by a rule, or be content"
    )
