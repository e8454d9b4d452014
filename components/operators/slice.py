"""The operator that takes rows from one position to another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from composer.core.operator import operator

Start = Annotated[int, Field(description="The first row; negative counts from the end.")]
Stop = Annotated[
    int | None,
    Field(description="The row to stop before; negative counts from the end, null is the end."),
]


def _ends(rows: int, start: int, stop: int | None) -> tuple[int, int]:
    """Return the positions where a slice begins and ends; raise ValueError if it has no rows."""
    first, last = start, rows if stop is None else stop
    if first < 0:
        first += rows
    if last < 0:
        last += rows
    if not 0 <= first < last <= rows:
        end = "the end" if stop is None else stop
        raise ValueError(f"cannot take rows {start} to {end} of {rows}")
    return first, last


def _lengths(known: Mapping[str, int], start: int, stop: int | None) -> dict[str, int]:
    """Return the number of rows N."""
    if "T" not in known:
        return {}
    first, last = _ends(known["T"], start, stop)
    return {"N": last - first}


@operator(x="T D @S", returns="N D @S", lengths=_lengths)
def slice(x: Any, *, start: Start = 0, stop: Stop = None) -> Any:
    """Take the rows from one position up to another, all of which must be there."""
    first, last = _ends(x.shape[0], start, stop)
    return x[first:last]
