"""What onnx.lm reads in headers, and refuses before any weight is read."""

import json
import os
import subprocess
import sys

import pytest
import torch

from composer.components.models import decoder
from composer.components.onnx.lm import OnnxLanguageModel
from composer.core.errors import ComposerError
from composer.core.placement import Placement
from composer.core.quantization_recipe import QuantizationRecipe
from composer.formats import Headers
from tests.components.checkpoint_files import rename
from tests.components.mlx_lm.models import IDS, ROWS, WIDTH, edit, without
from tests.components.onnx_lm.loading import facts_of, load, spec

pytestmark = pytest.mark.usefixtures("one_thread")


def error_text(folder, **more):
    with pytest.raises(ComposerError) as caught:
        facts_of(folder, **more)
    return str(caught.value).replace(f"repo/{folder.name}", "repo/lm")


def test_facts_come_from_headers_alone(qwen3):
    facts = facts_of(qwen3[2])
    assert {symbol: bound.value for symbol, bound in facts.dims.items()} == {"D": WIDTH, "V": ROWS}
    assert facts.dims["D"].witness == "repo/qwen3: model.embed_tokens.weight [192, 64]"
    assert (facts.dtype, facts.notes) == ("f32", ())
    stored = Headers().safetensors(spec(qwen3[2]).weights)
    assert facts.nbytes == sum(tensor.nbytes for tensor in stored.values())
    assert OnnxLanguageModel.facts(spec(qwen3[2]), None).unknown


def test_facts_import_no_backend(qwen3):
    code = f"""
import sys
from pathlib import Path
from composer.core.component import Spec
from composer.components.onnx.lm import OnnxLanguageModel
from composer.formats import Headers
from composer.core.location import Location
spec = Spec("decoder", OnnxLanguageModel.Config(), Location("repo", "", Path({str(qwen3[2])!r})))
print(OnnxLanguageModel.facts(spec, Headers()).dims["D"].value)
print(sorted({{"mlx", "mlx_lm", "onnx", "onnxruntime", "tokenizers", "torch"}} & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == f"{WIDTH}\n[]\n"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model_type": "gear"},
            "repo/lm/config.json:1:311: W254 composer has no network of its own for the model_type "
            f"'gear'\n    it has {', '.join(sorted(decoder.architectures()))}\n"
            "    hint: mlx.lm takes more of them, which docs/checkpoints.md lists",
        ),
        ({"model_type": None}, "W254 composer has no network of its own for the model_type 'None'"),
        ({"hidden_act": "gelu"}, "W257 composer's qwen3 computes silu, and hidden_act is gelu"),
        (
            {"clip_qkv": 4.0},
            "W257 composer's qwen3 does not read clip_qkv, which is 4.0\n    hint: if it changes "
            "nothing in these weights, name it in `ignore` of the component's config",
        ),
        (
            {"layer_types": ["sliding_attention"] * 2},
            "W257 layer_types has sliding_attention, but there is no window that is used",
        ),
        ({"intermediate_size": None}, "W258 intermediate_size is missing, and composer's qwen3"),
        ({"attention_bias": 1}, "W241 attention_bias is 1; expected true or false"),
        (
            {"rope_scaling": {"rope_type": "longrope", "factor": 4.0}},
            "W257 composer's qwen3 does not compute the rope scaling 'longrope'",
        ),
        (
            {"rope_scaling": {"mrope_section": [2, 3, 3], "rope_type": "yarn"}},
            "W249 rope_scaling has mrope_section and the type 'yarn'",
        ),
        ({"rope_theta": 5000.0}, "W241 rope_theta is 5000.0 and, in rope_parameters, 10000.0"),
        ({"rope_scaling": {"rope_type": "linear"}}, "W241 factor is missing; expected a number"),
        ({"rms_norm_eps": "x"}, "W241 rms_norm_eps is x; expected a number above 0"),
        (
            {"num_attention_heads": 0},
            "W241 num_attention_heads is 0; expected a whole number from 1",
        ),
        ({"num_key_value_heads": 3}, "W241 4 heads cannot share 3 heads of keys"),
        ({"head_dim": 8}, "W255 model.layers.0.self_attn.q_proj.weight has the shape [64, 64], but "
         "the model has [32, 64]"),
        ({"hidden_size": 128}, "W241 hidden_size is 128 but the embeddings have 64\n"),
        ({"tie_word_embeddings": False}, "W242 tie_word_embeddings is false but there is no"),
    ],
)  # fmt: skip
def test_a_config_that_it_would_not_compute_is_refused(folder, changes, message):
    edit(folder, **changes)
    assert message in error_text(folder)


def test_a_refusal_names_the_line_of_its_key(folder):
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), "hidden_act": "gelu", "clip_qkv": 4.0}
    path.write_text(json.dumps(config, indent=1))
    lines = path.read_text().splitlines()
    messages = error_text(folder)
    for key, what in (("hidden_act", "computes silu"), ("clip_qkv", "does not read clip_qkv")):
        (line,) = (number for number, text in enumerate(lines, 1) if f'"{key}"' in text)
        assert f"repo/lm/config.json:{line}:2: W257 composer's qwen3 {what}" in messages


def test_missing_unexpected_and_misshapen_tensors_are_all_named(folder):
    def change(state):
        state["model.layers.0.mlp.up_proj.bias"] = torch.zeros(3)
        state["model.layers.0.self_attn.k_norm.weight"] = torch.zeros(8)
        state["model.layers.1.self_attn.rotary_emb.inv_freq"] = torch.zeros(8)
        without(state, "model.norm.weight", "model.layers.1.self_attn.q_norm.weight")

    rename(folder, change)
    assert error_text(folder) == (
        "repo/lm/config.json: W255 2 tensors are missing: "
        "model.layers.1.self_attn.q_norm.weight, model.norm.weight\n"
        "repo/lm/config.json: W255 1 tensor is unexpected: model.layers.0.mlp.up_proj.bias\n"
        "repo/lm/config.json: W255 model.layers.0.self_attn.k_norm.weight has the shape [8], but "
        "the model has [16]\n    model.layers.0.self_attn.k_norm.weight f32 [8]"
    )


@pytest.mark.parametrize(
    ("precision", "message"),
    [
        ("bfloat16", "W246 onnx.lm computes in float32, not bfloat16\n"),
        ("float16", "W246 onnx.lm computes in float32, not float16\n"),
        (
            QuantizationRecipe(4, 32, mode="mxfp4"),
            "weights are packed in the affine form without MLX, not",
        ),
    ],
)
def test_only_float32_can_be_asked_for(folder, precision, message):
    assert message in error_text(folder, precision=precision)
    assert facts_of(folder, precision="float32") == facts_of(folder)


def test_a_tokenizer_of_another_model_is_refused(folder):
    (folder / "tokenizer.json").unlink()
    assert "W245 there is no repo/lm/tokenizer.json" in error_text(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_file_that_changed_since_the_check_is_refused(folder, name):
    component_spec = spec(folder)
    facts = OnnxLanguageModel.facts(component_spec, Headers())
    os.utime(folder / name, (1, 1))
    with pytest.raises(ComposerError, match=f"R530 repo/lm/{name}: changed after it was checked"):
        OnnxLanguageModel.load(component_spec, facts, Placement())


def test_a_table_that_changes_while_it_is_read_is_refused(folder):
    lm = load(folder)
    with (folder / "model.safetensors").open("r+b") as file:
        file.truncate(100)
    with pytest.raises(ComposerError, match=r"R530 .*: changed while it was being read"):
        lm.embed(IDS)
