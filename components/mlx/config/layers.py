"""Spell what each layer of a decoder sees as an architecture of mlx-lm reads it."""

from __future__ import annotations

from typing import Any

from composer.formats.refusal import show

from ...checkpoints.keys.window import FULL, KEYS, Window, interval, read_window
from .conventions import FULL_NEEDED, HYBRID, REGULAR, UNMASKED, WINDOWED
from .draft import Draft


def look(draft: Draft) -> Window | None:
    """Spell the windows of layers, or return those that mlx-lm does not compute."""
    types = draft.given.get("layer_types")
    if draft.module in REGULAR:
        look_regularly(draft, types)
        return None
    if draft.module in WINDOWED or draft.module in HYBRID:
        return None
    found = read_window(draft.given, draft.kind, draft.layers)
    for key in KEYS:
        draft.out.pop(key, None)
    if isinstance(found, str):
        draft.wrong(found, "layer_types" if types is not None else "use_sliding_window")
        return None
    if found and draft.module in UNMASKED:
        draft.wrong(f"mlx-lm's {draft.module} has no window in these layers", "sliding_window")
        return None
    limit = draft.given.get("max_position_embeddings")
    if found and type(limit) is int and found.size >= limit:
        return None
    return found


def look_regularly(draft: Draft, types: Any) -> None:
    """Spell layer_types as the distance between the layers that see everything."""
    key = REGULAR[draft.module]
    stated = draft.out.pop("_sliding_window_pattern", None)
    if types is None:
        if stated is not None:
            draft.out.setdefault(key, stated)
        return
    draft.out.pop("layer_types")
    layers = draft.layers
    step = interval(types, layers) if isinstance(types, list) else None
    if step is None:
        what = f"mlx-lm's {draft.module} has full attention in every n-th layer, and layer_types "
        draft.wrong(what + "has it elsewhere", "layer_types")
    elif draft.given.get(key) not in (None, step) and layers >= draft.given[key]:
        draft.wrong(f"{key} is {show(str(draft.given[key]))} and layer_types says {step}", key)
    else:
        draft.out[key] = step


def check_types(draft: Draft) -> None:
    """Refuse types of layers that this architecture cannot be built from."""
    step = draft.out.get(REGULAR[draft.module]) if draft.module in REGULAR else None
    if type(step) is int and draft.layers and step > draft.layers:
        need_full(draft, "layer_types" if "layer_types" in draft.given else REGULAR[draft.module])
    types = draft.out.get("layer_types")
    if draft.module in FULL_NEEDED and isinstance(types, list) and FULL not in types:
        need_full(draft, "layer_types")
    if "full_attn_idxs" not in draft.arguments.read:
        return
    numbers = draft.out.get("full_attn_idxs")
    if not isinstance(types, list):
        if numbers is None:
            draft.missing("layer_types")
        return
    full = [number for number, each in enumerate(types) if each == FULL]
    if numbers is not None and numbers != full:
        what = f"full_attn_idxs is {show(str(numbers))[1:-1]} and layer_types says {full}"
        draft.wrong(what, "full_attn_idxs", code="W241")
    if not full:
        need_full(draft, "layer_types")


def need_full(draft: Draft, key: str) -> None:
    """Refuse layers of which none sees everything."""
    draft.wrong(f"mlx-lm's {draft.module} needs a layer with full attention, and has none", key)
