"""The inputs of Gemma-4's decoder: embeddings, and per-layer inputs where it takes them."""

from __future__ import annotations

from typing import Any

from composer.core.errors import ComposerError, Problem

NOT_GIVEN: Any = object()  # a decoder without per-layer inputs has no such port


def require_per_layer(per_layer: Any, wanted: bool) -> None:
    """Raise ComposerError unless per-layer inputs are given exactly where they are wanted."""
    if (per_layer is not NOT_GIVEN) == wanted:
        return
    expected = "per-layer inputs" if wanted else "no per-layer inputs"
    raise ComposerError(Problem("R556", f"this decoder takes {expected}"))
