"""The metadata of a decoder's GGUF file as the config.json that it was converted from.

What llama.cpp has in its code and not in the file comes from there: Gemma-3's second base of
positions and its pattern of windows, and the scale of queries of Gemma-2 and Gemma-3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from . import gemma4

ARCHITECTURES = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "qwen3vl": "qwen3",
    "gemma2": "gemma2",
    "gemma3": "gemma3_text",
    "gemma4": "gemma4_text",
}
KEYS = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.sliding_window": "sliding_window",
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
    "rope.freq_base": "rope_theta",
    "vocab_size": "vocab_size",
}
SCALING = {
    "rope.scaling.type": "rope_type",
    "rope.scaling.factor": "factor",
    "rope.scaling.original_context_length": "original_max_position_embeddings",
    "rope.scaling.attn_factor": "attention_factor",
    "rope.scaling.yarn_beta_fast": "beta_fast",
    "rope.scaling.yarn_beta_slow": "beta_slow",
}
OF_TRAINING = {"rope.scaling.finetuned"}
END = "tokenizer.ggml.eos_token_id"
ENDS = ("tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id")
LARGEST = {"gemma2": 46, "gemma3": 62}  # layers of the 27B models, by which llama.cpp knows them


def checkpoint_config(
    metadata: Mapping[str, Any], architecture: str, part: float | None = None
) -> dict[str, Any]:
    """Return the keys of a config.json. What has no key there keeps its own name.

    A network refuses each key that it does not read, so that nothing passes unseen. `part` of a
    head is turned in Gemma-4's full layers, which a tensor says.
    """
    config: dict[str, Any] = {"model_type": ARCHITECTURES[architecture]}
    scaling: dict[str, Any] = {}
    prefix = f"{architecture}."
    keys = KEYS | gemma4.KEYS if architecture == gemma4.ARCHITECTURE else KEYS
    for name, value in metadata.items():
        key = name.removeprefix(prefix)
        if key == name or key in OF_TRAINING:
            continue
        if key in SCALING:
            scaling[SCALING[key]] = value
        else:
            config[keys.get(key, name)] = value
    if scaling.get("rope_type", "none") != "none":
        config["rope_scaling"] = scaling
    ends = [metadata[key] for key in (END, *ENDS) if key in metadata]
    if architecture == gemma4.ARCHITECTURE:
        gemma4.fill_missing_keys(config, prefix, part)
        ends += gemma4.ends(metadata)
    else:
        _require_plain_heads(config, prefix)
    if architecture == "qwen3vl":
        _leave_pictures_out(config, prefix)
    if architecture == "gemma3":
        _add_gemma3(config, prefix)
    if architecture in LARGEST:
        _add_scale(config, LARGEST[architecture])
    if ends:
        config["eos_token_id"] = [each for at, each in enumerate(ends) if each not in ends[:at]]
    return config


def _require_plain_heads(config: dict[str, Any], prefix: str) -> None:
    """Leave out two sizes of a head that say no more than its keys' does."""
    width, heads = config.get("hidden_size"), config.get("num_attention_heads")
    if "head_dim" not in config and type(width) is int and type(heads) is int and heads > 0:
        config["head_dim"] = width // heads
    for key in ("attention.value_length", "rope.dimension_count"):
        if config.get(prefix + key) == config.get("head_dim"):
            config.pop(prefix + key, None)


def _leave_pictures_out(config: dict[str, Any], prefix: str) -> None:
    """Leave out three axes of positions, which are one for text and speech, as in Qwen3-ASR."""
    config.pop(f"{prefix}rope.dimension_sections", None)
    if config.get(f"{prefix}n_deepstack_layers") == 0:
        config.pop(f"{prefix}n_deepstack_layers")


def _add_gemma3(config: dict[str, Any], prefix: str) -> None:
    pattern = config.pop(f"{prefix}attention.sliding_window_pattern", 6)
    if isinstance(pattern, list):  # one flag a layer
        kinds = {True: "sliding_attention", False: "full_attention"}
        config["layer_types"] = [kinds[bool(flag)] for flag in pattern]
    else:
        config["sliding_window_pattern"] = pattern
    config["rope_local_base_freq"] = config.pop(f"{prefix}rope.freq_base_swa", 10_000.0)


def _add_scale(config: dict[str, Any], largest: int) -> None:
    """Queries are scaled by the width of a head, in the largest model by the width for each."""
    width, heads = config.get("hidden_size"), config.get("num_attention_heads")
    scale = config.get("head_dim")
    if config.get("num_hidden_layers") == largest and type(width) is int and type(heads) is int:
        scale = width / max(heads, 1)
    config["query_pre_attn_scalar"] = scale
