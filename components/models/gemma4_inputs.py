"""The inputs of Gemma-4's decoder: embeddings, and per-layer inputs where it takes them.

And which rows are pictures, whose rows see each other in some sizes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from composer.core.errors import ComposerError, Problem

NOT_GIVEN: Any = object()  # a decoder without per-layer inputs has no such port


def require_per_layer(per_layer: Any, wanted: bool) -> None:
    """Raise ComposerError unless per-layer inputs are given exactly where they are wanted."""
    if (per_layer is not NOT_GIVEN) == wanted:
        return
    expected = "per-layer inputs" if wanted else "no per-layer inputs"
    raise ComposerError(Problem("R556", f"this decoder takes {expected}"))


def rows_ahead(pictures: np.ndarray) -> np.ndarray:
    """Return how many rows behind it each row [T] sees: those of its picture, int32 [T].

    Marked rows that follow each other are one picture.
    """
    places = np.arange(len(pictures), dtype=np.int32)
    ends = pictures & ~np.append(pictures[1:], False)
    last = np.minimum.accumulate(np.where(ends, places, len(pictures))[::-1])[::-1]
    found: np.ndarray = np.where(pictures, last - places, 0).astype(np.int32)
    return found
