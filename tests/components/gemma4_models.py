"""Write tiny random Gemma-4 decoders of transformers, in each layout that checkpoints come in."""

import json

import torch
from transformers import Gemma4ForCausalLM, Gemma4TextConfig

from composer.components.mlx.gemma4 import MlxGemma4
from composer.core.component import ComponentConfig, Spec
from composer.core.location import Location
from composer.core.placement import Placement
from composer.formats import Headers
from tests.components.checkpoint_files import edit_config, write_checkpoint, write_tokenizer

ROWS, WIDTH, PAD, EOS, WINDOW = 96, 96, 0, 1, 8  # no square is as wide: scales are rounded
FULL, SLIDING = "full_attention", "sliding_attention"
COMMON = {
    "vocab_size": ROWS,
    "vocab_size_per_layer_input": ROWS,
    "hidden_size": WIDTH,
    "intermediate_size": 96,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "global_head_dim": 32,
    "sliding_window": WINDOW,
    "hidden_size_per_layer_input": 16,
    "final_logit_softcapping": 30.0,
    "max_position_embeddings": 512,
    "initializer_range": 0.15,
    "layer_types": [SLIDING, SLIDING, FULL] * 2,
}
LARGE = {
    "hidden_size_per_layer_input": 0,
    "attention_k_eq_v": True,
    "num_global_key_value_heads": 1,
    "use_bidirectional_attention": "vision",
}
KINDS = {
    "e2b": {"num_kv_shared_layers": 3, "use_double_wide_mlp": True, "num_key_value_heads": 1},
    "e4b": {"num_kv_shared_layers": 3},
    "26b": LARGE
    | {
        "enable_moe_block": True,
        "num_experts": 8,
        "top_k_experts": 2,
        "moe_intermediate_size": 32,
        "intermediate_size": 64,
    },
    "31b": LARGE,
}
SMALL = ("e2b", "e4b")


def torch_model(kind="e2b", **more):
    """Return a random model whose norms and layer scalars are no ones."""
    torch.manual_seed(0)
    model = Gemma4ForCausalLM(Gemma4TextConfig(**COMMON | KINDS[kind] | more)).eval()
    with torch.no_grad():
        for name, value in [*model.named_parameters(), *model.named_buffers()]:
            if "norm" in name or name.endswith(
                ("router.scale", "per_expert_scale", "layer_scalar")
            ):
                value.normal_(1.0, 0.2)
            if name.endswith(("embed_tokens.weight", "embed_tokens_per_layer.weight")):
                value[PAD].normal_(0.0, 0.15)  # transformers leaves pad's rows at zero
        model.model.embed_tokens.weight *= 0.2  # or each token would be followed by itself
        model.model.norm.weight *= 5
    return model


def config_of(model, kind="e2b", **changes):
    config = json.loads(model.config.to_json_string())
    config.pop("per_layer_config", None)
    config["global_head_dim"] = COMMON["global_head_dim"]
    config["num_global_key_value_heads"] = KINDS[kind].get("num_global_key_value_heads")
    return {key: value for key, value in (config | changes).items() if value != "left out"}


def save(model, folder, kind="e2b", dtype=torch.float32, prefix="model.", whole=False, **changes):
    """Write a folder; `whole` adds a tower and what layers that share keys and values store."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        name.replace("model.", prefix, 1): value.to(dtype).contiguous().clone()
        for name, value in model.state_dict().items()
        if name != "lm_head.weight"
    }
    config = config_of(model, kind, **changes)
    if whole:
        for layer in range(3, 6):
            size = 32 if layer == 5 else 16
            at = f"{prefix}layers.{layer}.self_attn."
            for name in ("k_proj", "v_proj"):
                rows = size * COMMON["num_key_value_heads"]
                state[f"{at}{name}.weight"] = torch.full((rows, WIDTH), torch.nan, dtype=dtype)
            state[f"{at}k_norm.weight"] = torch.full((size,), torch.nan, dtype=dtype)
        state["model.vision_tower.patch.weight"] = torch.zeros(4, 4)
    if prefix != "model.":
        config = {"model_type": "gemma4", "text_config": config, "eos_token_id": EOS}
    write_checkpoint(folder, config, state)
    write_tokenizer(folder, ROWS)
    return folder


def edit(folder, **changes):
    return edit_config(folder, changes, left_out="left out")


def spec(folder, precision=None, adapters=None):
    location = Location("repo", "", folder.parent) / folder.name
    return Spec("decoder", ComponentConfig(), location, None, precision, adapters or {})


def facts(folder, precision=None):
    return MlxGemma4.facts(spec(folder, precision), Headers())


def load(folder, precision=None, **placed):
    component_spec = spec(folder, precision)
    return MlxGemma4.load(
        component_spec, MlxGemma4.facts(component_spec, Headers()), Placement(**placed)
    )
