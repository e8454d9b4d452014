"""The width of a stack's rows, followed from layer to layer."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from composer.core.component import Bound
from composer.core.problems import Problems

from .layers import GATED, Layer

if TYPE_CHECKING:
    from composer.core.location import Location
    from composer.formats.safetensors import Tensor

HALVES = "a gate halves rows: put a swiglu or geglu between them"


class RowWidths:
    """What comes in, what comes out, and what does not fit between.

    Layers without tensors may change the width before one with tensors says what it is, so that
    `scale` is the current width over that at the start, or over that after the last matrix.
    """

    def __init__(self, location: Location) -> None:
        self.location = location
        self.problems = Problems()
        self.current: int | None = None
        self.scale = Fraction(1)
        self.changes: list[str] = []
        self.start: Bound | None = None
        self.matrix = False
        self.last: Tensor | None = None

    def add(self, number: int, layer: Layer, tensors: dict[str, Tensor]) -> None:
        """Take the next layer in."""
        if tensors:
            self._add_weights(number, layer, tensors)
        elif layer.kind in GATED:
            if self.current is not None and self.current % 2:
                self.report(
                    f"layer {number} ({layer.kind}) halves rows, but their width is {self.current}"
                )
            self._change(layer, Fraction(1, 2), f"halved by {layer.kind}")
        elif layer.kind == "stack_frames":
            self._change(
                layer, Fraction(layer.settings.by), f"{layer.settings.by} rows side by side"
            )

    def _change(self, layer: Layer, scale: Fraction, words: str) -> None:
        self.scale *= scale
        self.changes.append(words)
        if self.current is not None:
            self.current = layer.width(self.current)

    def _add_weights(self, number: int, layer: Layer, tensors: dict[str, Tensor]) -> None:
        """Take a layer with tensors in."""
        weight = tensors["weight"]
        matrix = layer.kind == "linear"
        axes, expected = (2, "two axes") if matrix else (1, "one axis")
        if len(weight.shape) != axes:
            self.report(f"layer {number} is a {layer.kind}, whose weight has {expected}", weight)
            return
        bias = tensors.get("bias")
        if bias and bias.shape != weight.shape[:1]:
            self.report(f"layer {number} has a bias that does not fit its weight", weight, bias)
        wide_in, wide_out = weight.shape[-1], weight.shape[0]
        what = f"layer {number} ({layer.kind}) takes width {wide_in}"
        if self.last is None:
            start = wide_in / self.scale
            if start.denominator != 1:
                changes = ", ".join(self.changes)
                self.report(f"{what}, which cannot be after: {changes}", weight)
        elif self.current != wide_in:
            hint = HALVES if self.current == 2 * wide_in else None
            self.report(f"{what}, but {self.current} comes in", weight, self.last, hint=hint)
        if not self.matrix:
            self.start = Bound(int(wide_in / self.scale), self._witness(weight))
        if matrix:
            self.scale, self.changes, self.matrix = Fraction(1), [], True
        self.current = wide_out
        if matrix or not self.matrix:
            self.last = weight

    def report(self, message: str, *tensors: Tensor, hint: str | None = None) -> None:
        self.problems.report("W247", message, *map(self._describe, tensors), hint=hint)

    def _describe(self, tensor: Tensor) -> str:
        return f"{self.location}: {tensor.name} {list(tensor.shape)}"

    def _witness(self, tensor: Tensor) -> str:
        return ", ".join([self._describe(tensor), *self.changes])

    def bounds(self) -> tuple[Bound, Bound]:
        """Return the widths at both ends, a matrix being the better witness than a norm."""
        assert self.start is not None
        assert self.last is not None
        assert self.current is not None
        return self.start, Bound(self.current, self._witness(self.last))
