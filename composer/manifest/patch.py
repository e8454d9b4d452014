"""Apply a variant: a JSON merge patch (RFC 7396) that keeps source positions.

One value is replaced and never merged: a component's `precision`, since half of a recipe is none.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from composer.manifest.tree import SourceSpan

WHOLE = ("components", "precision")  # of each component


def merge_patch(
    base: Any, patch: Any, at: SourceSpan, patch_at: SourceSpan, path: tuple[str, ...] = ()
) -> tuple[Any, SourceSpan]:
    """Return `base` patched by `patch`, and the span of each part of it.

    `path` are the keys that lead to both.
    """
    if not isinstance(patch, dict):
        return patch, patch_at
    if len(path) == 3 and (path[0], path[2]) == WHOLE:
        base = None
    if isinstance(base, dict):
        data, spans = dict(base), replace(at, children=dict(at.children))
    else:
        data, spans = {}, replace(patch_at, children={})
    for key, value in patch.items():
        span = patch_at.children.get(key, patch_at)
        if value is None:
            data.pop(key, None)
            spans.children.pop(key, None)
        else:
            data[key], spans.children[key] = merge_patch(
                data.get(key), value, spans.children.get(key, span), span, (*path, key)
            )
    return data, spans
