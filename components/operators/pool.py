"""The operator that pools rows that follow one another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from composer.core import registry
from composer.core.operator import operator

from .groups import By, count_groups

Mode = Annotated[
    Literal["mean", "max"],
    Field(description="The mean of the rows, or the greatest number of each column."),
]
Remainder = Annotated[
    Literal["refuse", "drop", "keep"],
    Field(description="What becomes of fewer rows at the end: an error, nothing, or a row."),
]


def _lengths(known: Mapping[str, int], by: int | str, mode: str, remainder: str) -> dict[str, int]:
    """Return the number of rows U."""
    if isinstance(by, str):
        return {"U": 1}
    if "T" not in known:
        return {}
    return {"U": count_groups(known["T"], by, remainder)}


def _keeps_space(by: int | str, mode: str, remainder: str) -> bool:
    """Return whether pooled rows stay in their space: means do, the maxima of columns do not."""
    return mode == "mean"


@operator(x="T D @S", returns="U D @S", lengths=_lengths, keeps_space=_keeps_space)
def pool(
    x: Any,
    *,
    by: Annotated[By | Literal["all"], Field(description="How many rows become one; or all.")],
    mode: Mode = "mean",
    remainder: Remainder = "refuse",
) -> Any:
    """Make one row of each `by` rows that follow one another; means stay in the space of x.

    With `remainder: keep` the last row is pooled from the rows that are left, and from no zeros.
    `by: all` makes one row of all there are.
    """
    rows, width = x.shape
    if isinstance(by, str):
        return _reduce(x.reshape(1, rows, width), mode)
    count = count_groups(rows, by, remainder)
    whole = rows // by
    pooled = _reduce(x[: whole * by].reshape(whole, by, width), mode)
    if count == whole:
        return pooled
    last = _reduce(x[whole * by :].reshape(1, rows - whole * by, width), mode)
    return registry.backend_of(x).concat([pooled, last])


def _reduce(x: Any, mode: str) -> Any:
    return x.mean(axis=1) if mode == "mean" else x.max(axis=1)
