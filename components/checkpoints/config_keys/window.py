"""Read which layers of a decoder see only a window of positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FULL, SLIDING = "full_attention", "sliding_attention"
KEYS = frozenset(
    """
    layer_types max_window_layers sliding_window sliding_window_pattern use_sliding_window
    """.split()
)
EVERY = ("mistral", "mixtral", "ministral3", "qwen3_moe")  # every layer's; types are not read
OFF_BY_DEFAULT = (
    "qwen2",
    "qwen3",
    "qwen2_vl_text",
    "qwen2_5_vl_text",
    "qwen3_moe",
    "smollm3",
)  # off unless it is asked
EVERY_OTHER = ("gemma2",)  # layer's, from the first on
UNCOUNTED = ("smollm3",)  # not from `max_window_layers` on
NEVER = ("llama",)  # transformers reads no window in it
# Transformers' window where the key is absent; null is none.
DEFAULT = {"gemma2": 4096, "mistral": 4096}


@dataclass(frozen=True)
class AttentionWindow:
    """The layers that see `size` positions, themselves included."""

    size: int
    sliding: tuple[bool, ...]


def read_sliding_window(
    config: Mapping[str, Any], kind: str, layers: int
) -> AttentionWindow | str | None:
    """Return the window, None where all layers see everything, or what is wrong with it.

    As in transformers: `layer_types` comes first; without it Mistral's window is that of every
    layer, and Qwen's that of the layers from `max_window_layers` on.
    """
    size, types = stated_window(config, kind), config.get("layer_types")
    enabled = config.get("use_sliding_window")
    if types is None and kind in EVERY_OTHER:
        types = [FULL if number % 2 else SLIDING for number in range(layers)]
    if types is None:
        if size is None or enabled is False or kind in NEVER:
            return None
        if enabled is None and kind in OFF_BY_DEFAULT:
            return None
        first = config.get("max_window_layers")
        if kind in EVERY:
            first = 0
        elif kind in UNCOUNTED:
            first = None
        if type(first) is not int:
            return f"sliding_window is {str(size)[:40]}, and without layer_types nobody knows where"
        full = min(max(first, 0), layers)
        types = [FULL] * full + [SLIDING] * (layers - full)
    if not isinstance(types, list) or len(types) != layers:
        return f"layer_types does not name {layers} layers"
    if kind in EVERY and (fault := _beside(config, kind, types)):
        return fault
    if odd := [each for each in types if each not in (FULL, SLIDING)]:
        return f"layer_types names {str(odd[0])[:40]!r}, and only {FULL} and {SLIDING} are computed"
    sliding = tuple(each == SLIDING for each in types)
    if not any(sliding):
        return None
    if kind in NEVER:
        return f"transformers' {kind} has no window, and layer_types asks for one"
    if enabled is False or type(size) is not int or size < 1:
        return "layer_types has sliding_attention, but there is no window that is used"
    return AttentionWindow(size, sliding)


def stated_window(config: Mapping[str, Any], kind: str) -> Any:
    """Return how many positions a config's window has, or transformers' default."""
    return config.get("sliding_window", DEFAULT.get(kind))


def _beside(config: Mapping[str, Any], kind: str, types: Sequence[Any]) -> str | None:
    """Return how `layer_types` contradicts a window that is that of every layer."""
    size, enabled = stated_window(config, kind), config.get("use_sliding_window")
    off = size is None or enabled is False or (enabled is None and kind in OFF_BY_DEFAULT)
    expected = FULL if off else SLIDING
    if all(each == expected for each in types):
        return None
    where = "no layer" if off else "every layer"
    return f"layer_types is not {expected} throughout, and a window of {kind} is that of {where}"


def full_attention_interval(types: Sequence[Any], layers: int) -> int | None:
    """Return k where exactly every k-th layer has full attention, or None."""
    if len(types) != layers:
        return None
    full = [number for number, kind in enumerate(types, 1) if kind == FULL]
    if not full or full != list(range(full[0], layers + 1, full[0])):
        return None
    return full[0]
