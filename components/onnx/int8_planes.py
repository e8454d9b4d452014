"""Rows as sums of planes that the int8 kernel multiplies without rounding.

MatMulNBits with `accuracy_level` 4 rounds each group of a row to int8. What it takes a group for is
the group's product with the identity by the same kernel. What is left is a row of its own, smaller
by a factor of 254, and rounded in its turn: three planes are as near to a row as float32 is. They
are multiplied in one call, which reads the weights once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from composer.formats.quantization import Scheme

from .blocks import OnnxBlocks, Symbol
from .proto import CONTRIB

PLANES = 3
FLOAT32, INT8 = 1, 4  # the accuracy_level


class RowCount:
    """How many rows are multiplied, which only a run knows, and zeros that make them even.

    Some kernels multiply two rows at a time, and sum one that is left over in another order. What a
    row gives would then depend on how many there are. Where a kernel does not, rows have no count.
    """

    def __init__(self, nn: OnnxBlocks, rows: Symbol) -> None:
        self.nn = nn
        self.count = nn.node("Shape", rows, start=0, end=1)
        self.odd = nn.node("Mod", self.count, nn.ints(2))
        self.made: dict[tuple[int, ...], Symbol] = {}

    def zero_row(self, width: int) -> Symbol:
        """Return a row of zeros where there are odd rows, [0 or 1, K]."""
        return self._zeros([self.odd], width)

    def zero_planes(self, groups: int, size: int) -> Symbol:
        """Return a plane of zeros for each row where there are odd ones, [M, 0 or 1, G, size]."""
        return self._zeros([self.count, self.odd], groups, size)

    def _zeros(self, counts: list[Symbol], *dims: int) -> Symbol:
        if dims not in self.made:
            shape = self.nn.node("Concat", *counts, self.nn.ints(*dims), axis=0)
            self.made[dims] = self.nn.node("ConstantOfShape", shape)
        return self.made[dims]


def write_planes(
    nn: OnnxBlocks, groups: Symbol, rows: RowCount | None, scheme: Scheme, width: int
) -> Symbol:
    """Return the planes of rows in groups [M, 1, G, size], [M, P, K]; an even number of a count."""
    rest, planes = groups, [groups]
    for _ in range(PLANES - 1):
        rest = write_rounding_rest(nn, rest, scheme)
        planes.append(rest)
    return write_joined_planes(nn, planes, rows, scheme.group_size, width)


def write_joined_planes(
    nn: OnnxBlocks, planes: Sequence[Symbol], rows: RowCount | None, size: int, width: int
) -> Symbol:
    """Join planes in groups [M, 1, G, size], with one of zeros where a count is odd, [M, P, K]."""
    zeros = [rows.zero_planes(width // size, size)] if rows else []
    return nn.reshape(nn.node("Concat", *planes, *zeros, axis=1), 0, -1, width)


def write_sum_over_planes(
    nn: OnnxBlocks, products: Symbol, rows: RowCount | None, outputs: int
) -> Symbol:
    """Add the products of planes [M, P, N], by one with ones: ReduceSum takes much longer."""
    if rows:
        products = nn.node("Slice", products, nn.ints(0), nn.ints(PLANES), nn.ints(1))
    ones = nn.constant(np.ones((1, PLANES), np.float32))
    return nn.reshape(nn.matmul(ones, products), -1, outputs)


def write_even_rows(nn: OnnxBlocks, x: Symbol, rows: RowCount | None, width: int) -> Symbol:
    """Return rows [M, K], with one of zeros where a count is odd."""
    return nn.node("Concat", x, rows.zero_row(width), axis=0) if rows else x


def write_unpadded_products(nn: OnnxBlocks, products: Symbol, rows: RowCount | None) -> Symbol:
    """Return the products of rows without that of the one that made them even."""
    return nn.node("Slice", products, nn.ints(0), rows.count, nn.ints(0)) if rows else products


def write_packed_matmul(
    nn: OnnxBlocks,
    x: Symbol,
    codes: Symbol,
    scales: Symbol,
    rows: int,
    width: int,
    scheme: Scheme,
    accuracy: int = INT8,
    output: str = "",
) -> Symbol:
    """Multiply by packed rows [N, K], codes around their middle; by INT8 x is rounded to int8."""
    return nn.node(
        "MatMulNBits", x, codes, scales, domain=CONTRIB, output=output, K=width, N=rows,
        bits=scheme.bits, block_size=scheme.group_size, accuracy_level=accuracy,
    )  # fmt: skip


def write_rounding_rest(nn: OnnxBlocks, groups: Symbol, scheme: Scheme) -> Symbol:
    """Return what the kernel leaves out of groups."""
    return groups - write_kernel_rounding(nn, groups, scheme)


def write_kernel_rounding(nn: OnnxBlocks, groups: Symbol, scheme: Scheme) -> Symbol:
    """Return groups as the kernel rounds them: times the identity."""
    size = scheme.group_size
    codes: np.ndarray = np.eye(size, dtype=np.uint8)
    if scheme.bits == 4:
        codes = codes[:, 0::2] | codes[:, 1::2] << 4
    identity, scales = nn.constant(codes[:, None]), nn.constant(np.ones(size, np.float32))
    # With the zero point 0, and not the middle, nothing cancels in the product.
    zeros = nn.constant(np.zeros(size, np.uint8))
    return nn.node(
        "MatMulNBits", groups, identity, scales, zeros, domain=CONTRIB, K=size, N=size,
        bits=scheme.bits, block_size=size, accuracy_level=INT8,
    )  # fmt: skip
