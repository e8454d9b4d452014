"""The weights of a component by what they do and in how many bits they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class WeightGroup:
    """Modules of one kind, such as `attention`, in one form, such as `8 bits, groups of 64`.

    `numbers` counts the weights, `nbytes` has their scales and biases too.
    """

    kind: str
    form: str
    packed: bool
    modules: int
    numbers: int
    nbytes: int


def bits_per_weight(groups: Iterable[WeightGroup]) -> float:
    """Return the bits of a weight on average, scales and biases included; 0 without weights."""
    groups = list(groups)
    numbers = sum(group.numbers for group in groups)
    return 8 * sum(group.nbytes for group in groups) / numbers if numbers else 0.0
