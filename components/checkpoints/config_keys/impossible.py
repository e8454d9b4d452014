"""Numbers of a config that cannot be, whatever the architecture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from composer.core.errors import Problem
from composer.formats.file_problems import show_bare

HEADS, SIZE = 2**16, 2**24
COUNTS = {
    "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS,
    "num_global_key_value_heads": HEADS,
    "head_dim": HEADS,
    "global_head_dim": HEADS,
    "intermediate_size": SIZE,
    "moe_intermediate_size": SIZE,
    "hidden_size_per_layer_input": SIZE,
    "num_experts_per_tok": HEADS,
    "num_experts": HEADS,
    "num_local_experts": HEADS,
    "n_routed_experts": HEADS,
    "n_shared_experts": HEADS,
    "num_dense_layers": HEADS,
    "first_k_dense_replace": HEADS,
    "n_group": HEADS,
    "topk_group": HEADS,
    "decoder_sparse_step": HEADS,
    "full_attention_interval": HEADS,
    "sliding_window_pattern": HEADS,
    "conv_L_cache": HEADS,
    "linear_conv_kernel_dim": HEADS,
    "linear_key_head_dim": HEADS,
    "linear_value_head_dim": HEADS,
    "linear_num_key_heads": HEADS,
    "linear_num_value_heads": HEADS,
    "qk_head_dim": HEADS,
    "qk_nope_head_dim": HEADS,
    "qk_rope_head_dim": HEADS,
    "v_head_dim": HEADS,
    "kv_lora_rank": SIZE,
    "q_lora_rank": SIZE,
    "block_dim": SIZE,
    "block_ff_dim": SIZE,
    "block_multiple_of": SIZE,
    "shared_expert_intermediate_size": SIZE,
}
MAY_BE_NONE = frozenset(
    """
    first_k_dense_replace hidden_size_per_layer_input moe_intermediate_size n_routed_experts
    n_shared_experts num_dense_layers num_experts num_experts_per_tok num_local_experts
    shared_expert_intermediate_size
    """.split()
)
LISTED = {"moe_intermediate_size"}  # by layer, in some architectures
FLAGS = frozenset(
    """
    attention_bias attn_bias bias block_auto_adjust_ff_dim conv_bias lm_head_bias mlp_bias
    norm_topk_prob qkv_bias rope_interleave rope_traditional tie_word_embeddings use_bias
    use_expert_bias use_qk_norm use_qkv_bias use_sliding_window
    """.split()
)
POSITIVE = (
    "block_ffn_dim_multiplier",
    "moe_routed_scaling_factor",
    "query_pre_attn_scalar",
    "routed_scaling_factor",
)
WINDOWS = ("max_window_layers", "sliding_window")
EPSILONS = ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps", "norm_epsilon")


def impossible_values(config: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield a problem for each count, size, epsilon, window or flag that no model has."""
    levels = [config]
    if isinstance(config.get("text_config"), dict):
        levels.append(config["text_config"])
    for level in levels:
        for key, most in COUNTS.items():
            least = 0 if key in MAY_BE_NONE else 1
            values = level.get(key)
            if key not in LISTED or not isinstance(values, list) or not values:
                values = [values]
            for value in values:
                if value is not None and (type(value) is not int or not least <= value <= most):
                    yield _problem(key, value, f"a whole number from {least} to {most}")
        for key in FLAGS & level.keys():
            if not isinstance(level[key], bool | None):
                yield _problem(key, level[key], "true or false")
        for key in WINDOWS:
            value = level.get(key)
            if value is not None and type(value) is not int:
                yield _problem(key, value, "a whole number")
        for key in POSITIVE:
            value = level.get(key)
            if value is not None and (type(value) not in (int, float) or not 0 < value < SIZE):
                yield _problem(key, value, "a number above 0")
        for key in EPSILONS:
            value = level.get(key)
            if value is not None and (type(value) not in (int, float) or not 0 < value < 1):
                yield _problem(key, value, "a number above 0, and below 1")


def _problem(key: str, value: Any, expected: str) -> Problem:
    return Problem("W241", f"{key} is {show_bare(value)}; expected {expected}")
