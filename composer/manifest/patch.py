"""Apply a variant: a JSON merge patch (RFC 7396) that keeps source positions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from composer.manifest.tree import SourceSpan


def merge(base: Any, patch: Any, at: SourceSpan, patch_at: SourceSpan) -> tuple[Any, SourceSpan]:
    """Return `base` patched by `patch`, and the span of each part of it."""
    if not isinstance(patch, dict):
        return patch, patch_at
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
            data[key], spans.children[key] = merge(
                data.get(key), value, spans.children.get(key, span), span
            )
    return data, spans
