"""Write a number that varies by its median and quartiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median, quantiles


@dataclass(frozen=True)
class Spread:
    """The median of some values and their quartiles, between which the middle half lies."""

    median: float
    low: float
    high: float
    values: tuple[float, ...]


def spread_of(values: Sequence[float]) -> Spread:
    """Return the median and the quartiles; a value alone is all three."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0], tuple(values))
    low, _, high = quantiles(values, n=4, method="inclusive")
    return Spread(median(values), low, high, tuple(values))


def ratio_spread(values: Sequence[float], base: Sequence[float]) -> Spread | None:
    """Return how many times the base the values are, pair by pair; None where a base is 0."""
    if not all(base):
        return None
    return spread_of([one / other for one, other in zip(values, base, strict=True)])
