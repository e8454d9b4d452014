"""A node of an ONNX graph, as far as the file alone says what it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from composer.formats.onnx_values import KnownValue, Lengths


class NodeCall(NamedTuple):
    """A node: its operator, its inputs where they are known, and its attributes of integers."""

    name: str
    op: str
    inputs: Sequence[KnownValue | None]
    integers: Mapping[str, tuple[int, ...]]
    value: KnownValue | None = None
    equation: str = ""

    def given(self, place: int) -> KnownValue | None:
        return self.inputs[place] if place < len(self.inputs) else None

    def numbers(self, place: int, attribute: str = "") -> tuple[int, ...] | None:
        """Return the integers of an attribute, or of an input that took its place."""
        integers = self.integers.get(attribute)
        if integers:
            return integers
        known = self.given(place)
        return known.numbers if known else None

    @property
    def bits(self) -> int:
        """Return the bits of each number of its first input; 32 where that is not known."""
        known = self.given(0)
        return known.bits if known else 32

    def lengths(self, rank: int) -> Lengths:
        """Return the lengths of its first input, of an unknown one as many that are not known."""
        known = self.given(0)
        return known.lengths if known else (None,) * rank
