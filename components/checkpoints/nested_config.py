"""The config of a language model inside that of a larger checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .part_names import PartNames

THINKER = "thinker_config"
NESTED = (THINKER, "text_config", "llm_config", "language_config")
TIED = "tie_word_embeddings"
SHARED = ("quantization", "quantization_config", "eos_token_id", TIED)
# Text models that are those of another name, where one position stands for the three axes.
TEXT_KINDS = {"qwen2_vl_text": "qwen2", "qwen2_5_vl_text": "qwen2", "qwen3_vl_text": "qwen3"}


def config_of_part(
    whole: Mapping[str, Any], inner: Mapping[str, Any], names: PartNames
) -> dict[str, Any]:
    """Return the language model's config with what the whole checkpoint's says of it.

    Where the two differ over the head, its tensors decide, as in transformers.
    """
    config = {key: whole[key] for key in SHARED if key in whole} | dict(inner)
    if {whole.get(TIED), inner.get(TIED)} == {True, False}:
        del config[TIED]
    table = config.get("quantization")
    if isinstance(table, dict) and "quantization" not in inner:
        config["quantization"] = _of_part(table, names)
    kind = config.get("model_type")
    if isinstance(kind, str):
        config["model_type"] = TEXT_KINDS.get(kind, kind)
    return config


def nested_config(config: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the language model's own config, and the keys that lead to it."""
    for key in NESTED:
        inner = config.get(key)
        if isinstance(inner, dict):
            found, keys = nested_config(inner)
            return found, (key, *keys)
    return dict(config), ()


def _of_part(table: Mapping[str, Any], names: PartNames) -> dict[str, Any]:
    """Keep a quantization's settings and the modules of the part, by their own names."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        own = names.own(key) if "." in key else key
        if own is not None:
            found[own] = value
    return found
