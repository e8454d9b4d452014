"""The operator that joins rows that follow one another into wider ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from composer.core import registry
from composer.core.operator import operator
from composer.core.sizes import require_size

from .groups import By, count_groups

Remainder = Annotated[
    Literal["refuse", "drop", "pad"],
    Field(description="What becomes of fewer rows at the end: an error, nothing, or zeros more."),
]


def _lengths(known: Mapping[str, int], by: int, remainder: str) -> dict[str, int]:
    """Return the numbers of rows U and columns E."""
    found = {}
    if "T" in known:
        found["U"] = count_groups(known["T"], by, remainder)
    if "D" in known:
        found["E"] = known["D"] * by
    return found


@operator(x="T D", returns="U E", lengths=_lengths)
def stack_frames(x: Any, *, by: By, remainder: Remainder = "refuse") -> Any:
    """Join each `by` rows that follow one another into one, end to end; it is in no space.

    Row u of the output is the rows u * by to u * by + by - 1 of x.
    """
    rows, width = x.shape
    count = count_groups(rows, by, remainder)
    missing = count * by - rows
    if missing > 0:
        require_size("the rows with what fills them up", rows + missing, width)
        backend = registry.backend_of(x)
        zeros = np.zeros((missing, width), np.float32)
        x = backend.concat([x, backend.from_numpy(zeros, backend.dtype(x))])
    return x[: count * by].reshape(count, by * width)
