"""Which models of mlx-lm continue their sequences one by one, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .config.arguments import TEXT
from .mlx_lm_support import mlx_lm_folder, mlx_lm_module_name

TOGETHER = frozenset(  # `tests/components/mlx_lm/test_batch.py` compares each with itself alone
    (
        "gemma3_text", "laguna", "lfm2", "lfm2_moe", "llama", "mellum", "ministral3", "mixtral",
        "qwen2", "qwen3", "qwen3_5", "qwen3_moe", "smollm3", "telechat3",
    )
)  # fmt: skip
ROPE = ("rope_scaling", "rope_parameters")


def continued_alone(config: Mapping[str, Any]) -> str:
    """Return why sequences are continued one by one with mlx-lm's config, or nothing."""
    if mlx_lm_folder() is None:
        return ""
    name = mlx_lm_module_name(config)
    if name not in TOGETHER:
        return f"mlx-lm's {name} was not tested with several at once"
    text = config.get(TEXT, config)
    for rules in (text.get(key) or {} for key in ROPE):
        kinds = [rules, *rules.values()]
        if any(isinstance(each, dict) and each.get("rope_type") == "dynamic" for each in kinds):
            return "its dynamic positions depend on the length of each"
    return ""
