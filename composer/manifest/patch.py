"""Apply a variant: a JSON merge patch (RFC 7396) that keeps the place of what it overrides."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from composer.manifest.tree import SourceSpan


def merge(base: Any, patch: Any, at: SourceSpan, patch_at: SourceSpan) -> tuple[Any, SourceSpan]:
    """Return `base` changed by `patch`, and where each part of it is written."""
    if not isinstance(patch, dict):
        return patch, patch_at
    if isinstance(base, dict):
        data, spots = dict(base), replace(at, children=dict(at.children))
    else:
        data, spots = {}, replace(patch_at, children={})
    for key, value in patch.items():
        spot = patch_at.children.get(key, patch_at)
        if value is None:
            data.pop(key, None)
            spots.children.pop(key, None)
        else:
            data[key], spots.children[key] = merge(
                data.get(key), value, spots.children.get(key, spot), spot
            )
    return data, spots
