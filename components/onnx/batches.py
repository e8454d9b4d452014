"""Rows of several sequences in one graph, and their positions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar

import numpy as np

from composer.formats.quantization import Scheme

from ..checkpoints.modules import Module
from ..models.rotary import Rotary
from .blocks import Symbol
from .matmuls import MatmulMode, PackedMatmulBlocks
from .weights import WeightsLayout

Method = TypeVar("Method", bound=Callable[..., Any])
EVERY, CHOSEN = "every", "chosen"  # of the rows: which of them attend


def write_nodes_once(method: Method) -> Method:
    """Let a method of blocks write its nodes once for the same arguments."""

    @wraps(method)
    def written(self: BatchedBlocks, *given: Any) -> Any:
        key = (method.__name__, *given)
        if key not in self.written:
            self.written[key] = method(self, *given)
        return self.written[key]

    return written  # type: ignore[return-value]


class BatchedBlocks(PackedMatmulBlocks):
    """Blocks over rows [B S, N], S rows of each of B sequences.

    The graph takes the position of each sequence's last row, `last` [B], and the numbers of the
    rows that are `chosen`. `rotaries` are the ways to turn of which it takes angles.
    """

    def __init__(
        self,
        weights: WeightsLayout,
        modules: Mapping[str, Module],
        rows: MatmulMode,
        in_pairs: Callable[[Scheme], bool],
    ) -> None:
        super().__init__(weights, modules, rows, in_pairs)
        self.rotaries: dict[Rotary, tuple[Symbol, Symbol]] = {}
        self.written: dict[tuple[Any, ...], Any] = {}
        self.rows_input = "embeds"

    def chosen(self, x: Symbol) -> Symbol:
        self.rows_input = "chosen"  # networks have no others from here on
        return self.gather(x, Symbol("chosen", self))

    @write_nodes_once
    def _cos_sin(self, which: str, rotary: Rotary) -> list[Symbol]:
        """Return cosines and sines of the rows' angles [B S, 1, pairs]."""
        positions = self._positions(which)
        return [self.expand(self.gather(table, positions), 1) for table in self._angles(rotary)]

    def _batch(self, x: Symbol, *shape: int) -> Symbol:
        """Return rows of all sequences by sequence, [B, *shape]."""
        return self.node("Reshape", x, self._batch_shape(*shape))

    @write_nodes_once
    def _batch_shape(self, *shape: int) -> Symbol:
        sequences = self.node("Shape", Symbol("last", self))
        return self.node("Concat", sequences, self.ints(*shape), axis=0)

    @write_nodes_once
    def _totals(self) -> Symbol:
        """Return how many rows each sequence has with those of this run, int64 [B, 1]."""
        return self.expand(self.node("Cast", Symbol("last", self), to=7) + self.ints(1), 1)

    @write_nodes_once
    def _positions(self, which: str) -> Symbol:
        """Return the positions of the rows, int64 [B S]."""
        if which == CHOSEN:
            return self.gather(self._positions(EVERY), Symbol("chosen", self))
        rows = self.node("Shape", Symbol("embeds", self), start=0, end=1)
        each = self.node("Div", rows, self.node("Shape", Symbol("last", self)))
        return self.reshape(self._totals() - each + self._range(each), -1)

    def _angles(self, rotary: Rotary) -> tuple[Symbol, Symbol]:
        """Return cosines and sines of all positions, inputs of the graph."""
        if rotary not in self.rotaries:
            number = len(self.rotaries)
            for kind in ("cos", "sin"):
                dims: list[int | str] = [f"P{number}", rotary.dims // 2]
                self.weights.model.add_input(f"{kind}{number}", "float32", dims)
            self.rotaries[rotary] = Symbol(f"cos{number}", self), Symbol(f"sin{number}", self)
        return self.rotaries[rotary]

    def _range(self, count: Symbol) -> Symbol:
        """Return 0, 1 and so on, int64 [count]."""
        return self.node("Range", self._scalar(0), self.node("Squeeze", count), self._scalar(1))

    def _scalar(self, number: int) -> Symbol:
        return self.constant(np.array(number, np.int64))
