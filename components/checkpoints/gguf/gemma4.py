"""What llama.cpp's GGUF files of Gemma-4 say layer by layer, in the keys of its config.json.

The order of the file's arrays is that of the layers. What the releases say and the file does not:
which ids end a text, and whether the rows of a picture see each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

ARCHITECTURE = "gemma4"
KEYS = {
    "attention.shared_kv_layers": "num_kv_shared_layers",
    "attention.key_length": "global_head_dim",
    "attention.key_length_swa": "head_dim",
    "embedding_length_per_layer_input": "hidden_size_per_layer_input",
    "expert_count": "num_experts",
    "expert_used_count": "top_k_experts",
    "expert_feed_forward_length": "moe_intermediate_size",
}
REPEATED = {
    "attention.value_length": "global_head_dim",
    "attention.value_length_swa": "head_dim",
    "rope.dimension_count": "global_head_dim",
    "rope.dimension_count_swa": "head_dim",
}  # sizes that say no more than another does
KINDS = {True: "sliding_attention", False: "full_attention"}
ENDS = ("<eos>", "<turn|>")  # llama.cpp stops at these by their texts too


def fill_missing_keys(config: dict[str, Any], prefix: str, part: float | None) -> None:
    """Rewrite what has one value a layer, or one for each kind of layer; `part` is turned.

    What no release's config can say stays as it is, and is refused.
    """
    for key, known in REPEATED.items():
        if config.get(prefix + key) == config.get(known):
            config.pop(prefix + key, None)
    pattern = config.get(f"{prefix}attention.sliding_window_pattern")
    if isinstance(pattern, list):
        config.pop(f"{prefix}attention.sliding_window_pattern")
        config["layer_types"] = [KINDS[bool(flag)] for flag in pattern]
    _join_widths(config)
    _join_heads(config)
    full = {"rope_type": "proportional", "rope_theta": config.pop("rope_theta", None)}
    config["rope_parameters"] = {
        "sliding_attention": {
            "rope_type": "default",
            "rope_theta": config.pop(f"{prefix}rope.freq_base_swa", None),
        },
        "full_attention": full | {"partial_rotary_factor": part},
    }
    if not config.get("hidden_size_per_layer_input"):
        config["use_bidirectional_attention"] = "vision"


def _join_widths(config: dict[str, Any]) -> None:
    """Say one width of the feed-forward layers, twice that in those that share keys and values."""
    widths, shared = config.get("intermediate_size"), config.get("num_kv_shared_layers", 0)
    config["use_double_wide_mlp"] = False
    if not isinstance(widths, list) or type(shared) is not int or not 0 <= shared < len(widths):
        return
    first, own = widths[0], len(widths) - shared
    if widths == [first] * len(widths):
        config["intermediate_size"] = first
    elif widths == [first] * own + [2 * first] * shared:
        config["intermediate_size"] = first
        config["use_double_wide_mlp"] = True


def _join_heads(config: dict[str, Any]) -> None:
    """Say how many heads of keys each kind of layer has."""
    heads, kinds = config.get("num_key_value_heads"), config.get("layer_types", [])
    if not isinstance(heads, list) or len(heads) != len(kinds):
        return
    counts = {kind: {n for n, other in zip(heads, kinds, strict=True) if other == kind}
              for kind in KINDS.values()}  # fmt: skip
    if all(len(found) < 2 for found in counts.values()):
        sliding, full = (next(iter(counts[kind]), None) for kind in KINDS.values())
        config["num_key_value_heads"] = sliding if sliding is not None else full
        config["num_global_key_value_heads"] = full


def ends(metadata: Mapping[str, Any]) -> Iterator[int]:
    """Return the ids of the tokens that end a text or a turn."""
    tokens = metadata.get("tokenizer.ggml.tokens")
    for text in ENDS:
        if isinstance(tokens, list) and text in tokens:
            yield tokens.index(text)
