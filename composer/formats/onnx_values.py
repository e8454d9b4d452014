"""A value of an ONNX graph whose shape the file fixes."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

MOST_NUMBERS = 64  # of a stored tensor that is read as a shape

Lengths = tuple[int | None, ...]


@dataclass(frozen=True)
class KnownValue:
    """A value whose rank is fixed: its lengths, its bits a number, and its numbers where few."""

    lengths: Lengths
    bits: int = 32
    numbers: tuple[int, ...] | None = None

    @property
    def nbytes(self) -> int:
        return least_count(self.lengths) * self.bits // 8


def least_count(lengths: Lengths) -> int:
    """Return how many numbers there are at least."""
    return prod(length for length in lengths if length is not None)
