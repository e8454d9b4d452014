"""Convert the attention windows of layers to what an architecture of mlx-lm reads."""

from __future__ import annotations

from typing import Any

from composer.formats.file_problems import show, show_bare

from ...checkpoints.config_keys.window import (
    FULL,
    KEYS,
    AttentionWindow,
    full_attention_interval,
    read_sliding_window,
)
from .conventions import DEFAULTS, FULL_NEEDED, HYBRID, REGULAR, UNMASKED, WINDOWED
from .draft import ConfigDraft


def convert_windows(draft: ConfigDraft) -> AttentionWindow | None:
    """Convert the windows of layers, or return those that mlx-lm does not compute."""
    types = draft.source.get("layer_types")
    if draft.module in REGULAR:
        _convert_regular_windows(draft, types)
        return None
    if draft.module in WINDOWED:
        _check_size(draft)
    if draft.module in WINDOWED or draft.module in HYBRID:
        return None
    found = read_sliding_window(draft.source, draft.kind, draft.layers)
    for key in KEYS:
        draft.target.pop(key, None)
    if isinstance(found, str):
        key = "use_sliding_window" if types is None else "layer_types"
        draft.add_problem(found, key)
        return None
    if found and draft.module in UNMASKED:
        draft.add_problem(
            f"mlx-lm's {draft.module} has no window in these layers", "sliding_window"
        )
        return None
    limit = draft.source.get("max_position_embeddings")
    if found and type(limit) is int and found.size >= limit:
        return None
    return found


def _convert_regular_windows(draft: ConfigDraft, types: Any) -> None:
    """Convert layer_types to the interval of layers with full attention."""
    _check_size(draft)
    key = REGULAR[draft.module]
    stated = draft.target.pop("_sliding_window_pattern", None)
    if types is None:
        default = DEFAULTS.get(draft.module, {}).get(key)
        if stated not in (None, draft.target.get(key) or default):
            what = f"transformers' {draft.module} does not read _sliding_window_pattern"
            draft.add_problem(f"{what}, which is {show_bare(stated)}", "_sliding_window_pattern")
        return
    draft.target.pop("layer_types")
    layers = draft.layers
    step = full_attention_interval(types, layers) if isinstance(types, list) else None
    if step is None:
        message = (
            f"mlx-lm's {draft.module} has full attention in every n-th layer, and layer_types "
        )
        draft.add_problem(message + "has it elsewhere", "layer_types")
    elif draft.source.get(key) not in (None, step) and layers >= draft.source[key]:
        draft.add_problem(
            f"{key} is {show(str(draft.source[key]))} and layer_types says {step}", key
        )
    else:
        draft.target[key] = step


def _check_size(draft: ConfigDraft) -> None:
    """Refuse a window without a position."""
    size = draft.source.get("sliding_window", 1)
    if "sliding_window" in draft.arguments.read and (type(size) is not int or size < 1):
        value = show(str(size))[1:-1]
        message = f"sliding_window is {value}; expected a whole number from 1"
        draft.add_problem(message, "sliding_window", code="W241")


def check_layer_types(draft: ConfigDraft) -> None:
    """Refuse layer types that this architecture does not support."""
    if draft.module in REGULAR:
        key = REGULAR[draft.module]
        step = draft.target.get(key)
        if type(step) is int and draft.layers and step > draft.layers:
            if "layer_types" in draft.source:
                key = "layer_types"
            _refuse_no_full_layer(draft, key)
    types = draft.target.get("layer_types")
    if draft.module in FULL_NEEDED and isinstance(types, list) and FULL not in types:
        _refuse_no_full_layer(draft, "layer_types")
    if "full_attn_idxs" not in draft.arguments.read:
        return
    numbers = draft.target.get("full_attn_idxs")
    if not isinstance(types, list):
        if numbers is None:
            draft.add_missing("layer_types")
        return
    full = [number for number, each in enumerate(types) if each == FULL]
    if numbers is not None and numbers != full:
        message = f"full_attn_idxs is {show_bare(numbers)} and layer_types says {full}"
        draft.add_problem(message, "full_attn_idxs", code="W241")
    if not full:
        _refuse_no_full_layer(draft, "layer_types")


def _refuse_no_full_layer(draft: ConfigDraft, key: str) -> None:
    """Refuse layers without any full attention."""
    draft.add_problem(
        f"mlx-lm's {draft.module} needs a layer with full attention, and has none", key
    )
