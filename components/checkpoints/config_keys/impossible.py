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
}
MAY_BE_NONE = {"hidden_size_per_layer_input", "num_experts_per_tok", "moe_intermediate_size"}
LISTED = {"moe_intermediate_size"}  # by layer, in some architectures
FLAGS = frozenset(
    """
    attention_bias attn_bias bias block_auto_adjust_ff_dim conv_bias lm_head_bias mlp_bias
    norm_topk_prob qkv_bias tie_word_embeddings use_bias use_expert_bias use_qk_norm
    use_qkv_bias use_sliding_window
    """.split()
)
POSITIVE = ("query_pre_attn_scalar",)
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
