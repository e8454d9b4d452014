"""Configs whose keys contradict each other, or are of another type: refused, or as transformers."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from composer.components.mlx.lm import MlxLanguageModel
from composer.components.onnx.lm import OnnxLanguageModel
from composer.core.component import Spec
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats import Headers
from tests.config_sweep import FULL, IDS, SLIDING, Case, build, save

COMPONENTS = {"mlx": MlxLanguageModel, "onnx": OnnxLanguageModel}
ROPE = {"rope_type": "default", "rope_theta": 500.0}
LINEAR = {"rope_type": "linear", "factor": 2.0}
TYPED = {"type": "linear", "factor": 2.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 500.0}
LENGTH = "original_max_position_embeddings"
ANY = "llama qwen3"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}

    def folder(kind):
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp(kind) / "lm"
            save(Case(kind, "", {}), build(Case(kind, "", {})), made[kind])
            path = made[kind] / "config.json"
            made[kind].with_name("config.json").write_text(path.read_text())
        return made[kind]

    return folder


def change(folder, changes):
    """Change the config of a folder; `...` takes a key out."""
    config = json.loads(folder.with_name("config.json").read_text()) | changes
    config = {key: value for key, value in config.items() if value is not ...}
    (folder / "config.json").write_text(json.dumps(config, indent=1))


def spec(folder, component):
    weights = Location("repo", "", folder.parent) / folder.name
    return Spec("decoder", component.Config(), weights)


def refusal(folder, backend):
    component = COMPONENTS[backend]
    with pytest.raises(ComposerError) as caught:
        component.facts(spec(folder, component), Headers())
    return str(caught.value)


def far(folder, backend):
    """Return how far the logits are from those of transformers."""
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        expected = model(input_ids=torch.tensor(IDS)[None], use_cache=False).logits[0].numpy()
    component = COMPONENTS[backend]
    lm = component.load(
        spec(folder, component), component.facts(spec(folder, component), Headers()), Placement()
    )
    ids = lm.decoder.from_numpy(IDS)
    return np.abs(np.array(lm.logits(lm.embed(ids))) - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("backend", COMPONENTS)
@pytest.mark.parametrize(
    ("kinds", "changes", "message"),
    [
        (ANY, {"tie_word_embeddings": "false"}, "tie_word_embeddings is false; expected true or"),
        (ANY, {"tie_word_embeddings": 1}, "W241 tie_word_embeddings is 1; expected true or false"),
        (ANY, {"attention_bias": "true"}, "W241 attention_bias is true; expected true or false"),
        (
            "llama",
            {"attention_bias": True},
            "W255 16 tensors are missing: model.layers.0.self_attn.",
        ),
        (
            ANY,
            {"head_dim": 8},
            "W255 model.layers.0.self_attn.q_proj.weight has the shape [64, 64]",
        ),
        (
            ANY,
            {"num_key_value_heads": 1},
            "k_proj.weight has the shape [32, 64], but the model has",
        ),
        (ANY, {"intermediate_size": 95}, "W255 model.layers.0.mlp.gate_proj.weight has the shape "),
        ("llama", {"mlp_bias": True}, "W255 12 tensors are missing: model.layers.0.mlp.down_proj"),
        ("llama", {"mlp_bias": 1}, "W241 mlp_bias is 1; expected true or false"),
        ("qwen3", {"use_sliding_window": 1}, "use_sliding_window is 1; expected true or false"),
        ("qwen3", {"sliding_window": "12"}, "W241 sliding_window is 12; expected a whole number"),
        ("qwen3", {"sliding_window": True}, "W241 sliding_window is True; expected a whole"),
        ("qwen3", {"max_window_layers": 2.0}, "W241 max_window_layers is 2.0; expected a whole"),
        (ANY, {"intermediate_size": None}, "W258 intermediate_size is missing"),
        (
            ANY,
            {"rope_scaling": LINEAR, "rope_parameters": {"rope_theta": 500.0}},
            "W241 rope_parameters has rope_theta, which rope_scaling beside it does not",
        ),
        (
            ANY,
            {"rope_scaling": LINEAR, "rope_parameters": {"partial_rotary_factor": 0.5}},
            "W241 rope_parameters has partial_rotary_factor, which rope_scaling beside it",
        ),
        (
            ANY,
            {"rope_scaling": {"rope_type": None, "factor": 4.0}, "rope_parameters": ...},
            "W241 rope_type is null beside a factor",
        ),
        ("llama", {"rope_parameters": {FULL: ROPE}}, "llama turns the positions of all "),
        ("gemma3_text", {"rope_parameters": ROPE}, "has rope_parameters for each type of layer"),
        (
            "gemma3_text",
            {"rope_parameters": ..., "rope_theta": 500.0, "rope_scaling": TYPED},
            "W257 transformers does not read type of rope_scaling in this architecture\n",
        ),
        (
            "gemma3_text",
            {"rope_parameters": {FULL: YARN}, LENGTH: 32},
            "W241 original_max_position_embeddings is 32 and, in rope_parameters.full_attention, ",
        ),
        (
            "gemma3_text",
            {"layer_types": ..., "_sliding_window_pattern": 2},
            "_sliding_window_pattern",
        ),
        (
            ANY,
            {"rope_parameters": YARN | {LENGTH: 64}, LENGTH: 32},
            ":2: W241 original_max_position_embeddings is 32 and, in rope_parameters, 64",
        ),
        (
            ANY,
            {"rope_parameters": ..., "rope_theta": 500.0, "partial_rotary_factor": 0.5},
            ":2: W257 ",
        ),
        ("gemma3_text", {"sliding_window": 0}, "W241 sliding_window is 0; expected a whole"),
        ("gemma3_text", {"sliding_window": None}, "W241 sliding_window is "),
        ("gemma3_text", {"query_pre_attn_scalar": -1}, "query_pre_attn_scalar is -1; expected"),
        (
            "mistral",
            {"sliding_window": 12, "layer_types": [FULL] * 4},
            "W257 layer_types is not sliding_attention throughout, and a window of mistral is",
        ),
        (
            "mistral",
            {"sliding_window": 12, "layer_types": [SLIDING, FULL] * 2},
            "W257 layer_types is not sliding_attention throughout, and a window of mistral is",
        ),
        (
            "mistral",
            {"sliding_window": None, "layer_types": [SLIDING] * 4},
            "W257 layer_types is not full_attention throughout, and a window of mistral is",
        ),
    ],
)
def test_both_backends_refuse_it(folders, kinds, changes, message, backend):
    for kind in kinds.split():
        folder = folders(kind)
        change(folder, changes)
        assert message in refusal(folder, backend)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (
            "qwen3_moe",
            {"use_sliding_window": True, "sliding_window": 12, "layer_types": [FULL] * 4},
            "W257 layer_types is not sliding_attention throughout, and a window of qwen3_moe is",
        ),
        (
            "qwen3_moe",
            {"num_experts_per_tok": ...},
            "W241 8 experts are taken for each token, and there are 4",
        ),
        ("qwen3_moe", {"num_experts_per_tok": 0}, "W241 0 experts are taken for each token"),
        ("qwen3_moe", {"num_experts": 0}, "W257 num_experts is 0, and mlx-lm's qwen3_moe needs"),
        ("qwen3_moe", {"moe_intermediate_size": [32] * 4}, "W257 moe_intermediate_size is [32, "),
        ("laguna", {"sliding_window": 0}, "W241 sliding_window is 0; expected a whole number from"),
        ("laguna", {"sliding_window": -1}, "W241 sliding_window is -1; expected a whole number"),
        ("qwen3_moe", {"decoder_sparse_step": 0}, "W241 decoder_sparse_step is 0; expected a"),
        ("qwen3_moe", {"num_experts": "4"}, "W241 num_experts is 4; expected a whole number from"),
        (
            "smollm3",
            {"use_sliding_window": True, "sliding_window": 12, "max_window_layers": 2,
             "layer_types": ...},
            "W257 sliding_window is 12, and without layer_types nobody knows where",
        ),
    ],
)  # fmt: skip
def test_mlx_lm_refuses_it(folders, kind, changes, message):
    change(folders(kind), changes)
    assert message in refusal(folders(kind), "mlx")


@pytest.mark.parametrize("backend", COMPONENTS)
@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("mistral", {"sliding_window": 12, "layer_types": [SLIDING] * 4}),
        ("llama", {"rope_scaling": LINEAR, "rope_theta": 500.0, "rope_parameters": ...}),
        ("llama", {"rope_scaling": LINEAR | {"rope_theta": 500.0}, "rope_theta": 500.0,
                   "rope_parameters": LINEAR | {"rope_theta": 500.0}}),
        ("gemma3_text", {"rope_parameters": ..., "rope_theta": 500.0}),
        ("gemma3_text", {"rope_parameters": ..., "rope_theta": 500.0,
                         "rope_scaling": TYPED | {"rope_type": "linear"}}),
        ("gemma3_text", {"rope_parameters": {FULL: YARN | {LENGTH: 32}}}),
        ("gemma3_text", {"layer_types": ..., "sliding_window_pattern": 2,
                         "_sliding_window_pattern": 2}),
        ("llama", {"rope_parameters": YARN, LENGTH: 32}),
    ],
)  # fmt: skip
def test_what_agrees_is_as_in_transformers(folders, kind, changes, backend):
    change(folders(kind), changes)
    assert far(folders(kind), backend) < 1e-4


@pytest.mark.parametrize("backend", COMPONENTS)
def test_null_is_an_absent_key(folders, backend):
    folder, component = folders("qwen3"), COMPONENTS[backend]
    change(folder, {"tie_word_embeddings": None, "rope_scaling": None, "attention_bias": None})
    assert component.facts(spec(folder, component), Headers()).dims
