"""The head of a decoder, of which greedy decoding reads coarse products.

Of one of floats a weight has a coarse digit and two finer ones, 20 bits that are together as near
to it as float32; one that is packed is its codes. A row has three planes, of which the first is a
coarse one. The coarse product has an error that is bounded row by row. So what is finer is wanted
for all logits alone, and for the largest the stored rows of those that may still be it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from composer.formats.quantization import Scheme

from ..checkpoints.modules import Module
from .blocks import Symbol
from .head_bounds import store_digits, store_packed_bounds
from .int8_planes import (
    PLANES,
    write_even_rows,
    write_joined_planes,
    write_packed_matmul,
    write_rounding_rest,
    write_sum_over_planes,
)
from .matmuls import MatmulMode, PackedMatmulBlocks

ALL, SCORES, WHOLE, HIDDEN, REST = "all", "scores", "whole", "hidden", "rest"
Digit = tuple[Symbol, Symbol, Scheme]  # codes, scales and their packing


class HeadForm(Enum):
    """How a graph has its head: as other products are, coarse first where it can be, or not."""

    AS_STORED = "as stored"
    COARSE_FIRST = "coarse first"
    LEFT_OUT = "left out"


@dataclass(frozen=True)
class CoarseHead:
    """What a graph gives of a head: the size of its groups, and whether rows come in pairs."""

    group_size: int
    in_pairs: bool

    def products(self, rows: int, whole: bool) -> int:
        """Return how many products some rows have: those of each plane where all are read."""
        odd = rows % 2 if self.in_pairs else 0
        return rows * (PLANES + odd) if whole else rows + odd


def write_coarse_head(
    nn: PackedMatmulBlocks, x: Symbol, head: Module
) -> tuple[Symbol, CoarseHead] | None:
    """Multiply rows by a head; return whole products, of no row where coarse ones are asked for.

    The coarse ones are an output of the graph, as nothing else is made of them; where whole ones
    are, they mean nothing. Return None for a head that has no form for it.
    """
    if size := head.digit_group_size:
        scheme, short = Scheme(8, size, "affine"), Scheme(4, size, "affine")
        names = store_digits(nn.weights, head, size)
        coarse, fine, finest, *steps = (Symbol(name, nn) for name in names)
        digits = [(coarse, steps[0], scheme), (fine, steps[1], scheme), (finest, steps[2], short)]
        return _write_nodes(nn, x, digits, head)
    if head.scheme and nn.rows is MatmulMode.PLANES and "bias" not in head.parts:
        digit = *nn.packed_parts(head.path, [head]), head.scheme
        store_packed_bounds(nn.weights, head)
        return _write_nodes(nn, x, [digit], head, nn.residual_offsets(head.path, [head]))
    return None


def _write_nodes(
    nn: PackedMatmulBlocks,
    x: Symbol,
    digits: Sequence[Digit],
    head: Module,
    offsets: Symbol | None = None,
) -> tuple[Symbol, CoarseHead]:
    """Multiply rows by digits: coarse products, and whole ones where the input `all` is true.

    The rows and what their first plane leaves out are outputs of the graph.
    """
    rows, width = head.shape
    first, *finer = digits
    scheme = first[2]
    count = nn.row_count(*(each[2] for each in digits))
    size = scheme.group_size
    model = nn.weights.model
    model.add_input(ALL, "bool", [])
    grouped = nn.reshape(x, 0, 1, -1, size)
    rest = write_rounding_rest(nn, grouped, scheme)
    if count:  # which branches read
        count.zero_row(width), count.zero_planes(width // size, size)
    by_row = nn.node("Concat", nn.node("Shape", x, start=0, end=1), nn.ints(-1, rows), axis=0)
    with nn.weights.branch() as planes:
        last = write_rounding_rest(nn, rest, scheme)
        every = write_joined_planes(nn, [grouped, rest, last], count, size, width)
        planes.node("Identity", [nn.reshape(every, -1, width).name], ["planes"])
        planes.add_output("planes", "float32", ["P", width])
    with nn.weights.branch() as rounded:
        even = write_even_rows(nn, x, count, width)
        rounded.node("Identity", [even.name], ["plane"])
        rounded.add_output("plane", "float32", ["P", width])
    model.choose(ALL, planes, rounded, "given")
    given = Symbol("given", nn)
    output = SCORES if offsets is None else ""
    product = write_packed_matmul(nn, given, *first[:2], rows, width, scheme, output=output)
    if offsets:
        sums = nn.group_sums(x, size)
        of_given = nn.group_sums(given, size)
        nn.node("Gemm", of_given, offsets, product, output=SCORES, transB=1)
    with nn.weights.branch() as exact:
        total = product
        for each in finer:
            total = write_packed_matmul(nn, given, *each[:2], rows, width, each[2]) + total
        total = write_sum_over_planes(nn, nn.node("Reshape", total, by_row), count, rows)
        if offsets:
            total = nn.node("Gemm", sums, offsets, total, transB=1)
        exact.node("Identity", [total.name], ["all of them"])
        exact.add_output("all of them", "float32", ["W", rows])
    with nn.weights.branch() as near:
        near.node("Identity", [nn.constant(np.zeros((0, rows), np.float32)).name], ["none"])
        near.add_output("none", "float32", ["W", rows])
    model.choose(ALL, exact, near, WHOLE)
    for name, value in (HIDDEN, x), (REST, nn.reshape(rest, -1, width)):
        model.node("Identity", [value.name], [name])
        model.add_output(name, "float32", ["R", width])
    model.add_output(SCORES, "float32", ["C", rows])
    model.add_output(WHOLE, "float32", ["W", rows])
    return Symbol(WHOLE, nn), CoarseHead(size, count is not None)
