"""The operator that puts rows into marked positions."""

from __future__ import annotations

from typing import Any

import numpy as np

from composer.core.errors import ComposerError, Problem
from composer.core.operator import operator


def _require_a_row_for_each_mark(base: Any, at: np.ndarray, values: Any) -> None:
    """Raise ComposerError unless there are as many rows of values as marks."""
    marks, rows = int(np.count_nonzero(at)), values.shape[0]
    if marks != rows:
        raise ComposerError(
            Problem(
                "R502",
                f"scatter has {_count(rows, 'row')} of values for "
                f"{_count(marks, 'marked position')}",
                hint="'at' must be the slots of the prompt that these very rows expanded",
            )
        )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@operator(
    base="T D @S",
    at="bool T #values",
    values="N D @S",
    returns="T D @S",
    check=_require_a_row_for_each_mark,
)
def scatter(base: np.ndarray, at: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Put rows into marked positions, exactly as many as are marked."""
    out = base.copy()
    out[at] = values
    return out
