"""Folders in every quantization that mlx_lm.convert writes, against the formats' formulas."""

import importlib

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from composer.components.mlx.lm import MlxLanguageModel
from composer.formats import Headers
from tests.components.mlx_lm.models import (
    IDS,
    dequantized,
    edit,
    error_text,
    f32,
    greedy,
    greedy_of_torch,
    load,
    save,
    spec,
    torch_model,
)

E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
MODES = {"mxfp4": (32, 4), "mxfp8": (32, 8), "nvfp4": (16, 4)}


def convert(model, folder, size, bits, mode="affine", recipe=None, **changes):
    """Write a folder as mlx_lm.convert does with these flags."""
    from mlx_lm.utils import load_model, quantize_model, save_config, save_model

    made, config = load_model(save(model, folder, **changes))
    convert = importlib.import_module("mlx_lm.convert")
    predicate = recipe and convert.mixed_quant_predicate_builder(recipe, made, size)
    made, config = quantize_model(made, config, size, bits, mode, quant_predicate=predicate)
    save_model(folder, made)
    save_config(config, folder / "config.json")
    (folder / "model.safetensors.index.json").unlink()
    return folder


def e4m3(codes):
    """Return float8 e4m3 codes uint8 as float32."""
    return torch.tensor(codes).view(torch.float8_e4m3fn).float().numpy()


def by_formula(weight, scales, mode):
    """Return the numbers that microscaled rows stand for (OCP MX 1.0; NVFP4 has e4m3 scales)."""
    packed = np.ascontiguousarray(weight.numpy().view(np.uint8))
    if mode == "mxfp8":
        values = e4m3(packed)
    else:
        codes = np.stack([packed & 15, packed >> 4], -1).reshape(len(packed), -1)
        values = np.where(codes & 8, -1, 1) * E2M1[codes & 7]
    scales = scales.numpy()
    factor = e4m3(scales) if mode == "nvfp4" else np.exp2(scales.astype(np.float32) - 127)
    return values * np.repeat(factor, MODES[mode][0], -1)


def torch_of(model, folder, mode):
    state = load_file(folder / "model.safetensors")
    paths = [name.removesuffix(".scales") for name in state if name.endswith(".scales")]
    found = {
        f"{path}.weight": torch.tensor(
            by_formula(state[f"{path}.weight"], state[f"{path}.scales"], mode).astype(np.float32)
        )
        for path in paths
    }
    assert "model.embed_tokens.weight" in found
    assert not model.load_state_dict(found, strict=False).unexpected_keys
    model.tie_weights()
    return model


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_a_microscaled_folder_is_what_its_format_says(tmp_path, mode, tied):
    model = torch_model(tied=tied)
    folder = convert(model, tmp_path / "lm", *MODES[mode], mode)
    lm = load(folder, "float32")
    expected = torch_of(model, folder, mode)
    embeds = lm.embed(torch_ids())
    with torch.no_grad():
        logits = expected(torch.tensor(IDS)[None]).logits[0].numpy()
        rows = expected.model.embed_tokens.weight[IDS].numpy()
    np.testing.assert_array_equal(f32(embeds), rows)
    np.testing.assert_allclose(f32(lm.logits(embeds)), logits, atol=2e-4)
    assert greedy(lm, embeds) == greedy_of_torch(expected)


@pytest.mark.parametrize("precision", [None, "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("mode", MODES)
def test_the_embeddings_of_a_microscaled_table_are_what_facts_say(tmp_path, mode, precision):
    folder = convert(torch_model(), tmp_path / "lm", *MODES[mode], mode)
    facts = MlxLanguageModel.facts(spec(folder, precision), Headers())
    assert (
        facts.dtype
        == {None: "bf16", "float32": "f32", "float16": "f16", "bfloat16": "bf16"}[precision]
    )
    made = load(folder, precision).embed(torch_ids())
    assert str(made.dtype) == f"mlx.core.{precision or 'bfloat16'}"


@pytest.mark.parametrize("recipe", ["mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6"])
def test_mixed_recipes_are_read_as_they_are_written(tmp_path, recipe):
    model = torch_model(tied=False)
    folder = convert(model, tmp_path / "lm", None, 4, recipe=recipe, intermediate_size=128)
    assert '"group_size": null' in (folder / "config.json").read_text()
    lm = load(folder, "float32")
    bits = {module.bits for _, module in lm.model.named_modules() if "scales" in module}
    assert bits == {int(digit) for digit in recipe[6:].split("_")}
    expected = dequantized(model, lm)
    assert greedy(lm, lm.embed(torch_ids())) == greedy_of_torch(expected)


def test_a_key_of_a_scheme_that_nothing_reads_is_refused(tmp_path):
    path = "model.layers.0.mlp.up_proj"
    folder = convert(torch_model(), tmp_path / "lm", 64, 4)
    table = {"group_size": 64, "bits": 4}
    message = error_text(edit(folder, quantization=table | {"rotated": "hadamard"}))
    assert message == "repo/lm/config.json: S472 quantization has the unknown key 'rotated'"
    scheme = {"group_size": 64, "bits": 4, "global_scale": True}
    message = error_text(edit(folder, quantization=table | {path: scheme}))
    assert message.startswith(
        f"repo/lm/config.json: S472 quantization of '{path}': the unknown key 'global_scale'"
    )


def torch_ids():
    import mlx.core as mx

    return mx.array(IDS)
