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
INT8 = 4  # the accuracy_level


def write_planes(nn: OnnxBlocks, groups: Symbol, scheme: Scheme, width: int) -> Symbol:
    """Return the planes of rows in groups [M, G, size], one after another, as even rows [R, K]."""
    rest, planes = groups, [groups]
    for _ in range(PLANES - 1):
        rest = write_rounding_rest(nn, rest, scheme)
        planes.append(rest)
    return write_even_rows(nn, planes, scheme.group_size, width)


def write_even_rows(nn: OnnxBlocks, parts: Sequence[Symbol], size: int, width: int) -> Symbol:
    """Join rows in groups [M, G, size] to rows [R, K], with one of zeros where R would be odd.

    The kernels multiply two rows at a time, and sum one that is left over in another order. So what
    a row gives would depend on how many there are.
    """
    rows = nn.node("Shape", parts[0], start=0, end=1)
    odd = nn.node("Mod", rows * nn.ints(len(parts)), nn.ints(2))
    zeros = nn.constant(np.zeros((1, width // size, size), np.float32))
    one = nn.node("Slice", zeros, nn.ints(0), odd, nn.ints(0))
    return nn.reshape(nn.node("Concat", *parts, one, axis=0), -1, width)


def write_unpadded_products(nn: OnnxBlocks, products: Symbol, x: Symbol, planes: int = 1) -> Symbol:
    """Return the products of all planes of x [M, ...], without the rows that made them even."""
    rows = nn.node("Shape", x, start=0, end=1)
    return nn.node("Slice", products, nn.ints(0), rows * nn.ints(planes), nn.ints(0))


def write_sum_over_planes(nn: OnnxBlocks, products: Symbol, x: Symbol, rows: int) -> Symbol:
    """Add the products of planes of x, by a product with ones: ReduceSum takes much longer."""
    ones = nn.constant(np.ones((1, PLANES), np.float32))
    products = write_unpadded_products(nn, products, x, PLANES)
    return nn.reshape(nn.matmul(ones, nn.reshape(products, PLANES, -1)), -1, rows)


def write_int8_matmul(
    nn: OnnxBlocks, x: Symbol, codes: Symbol, scales: Symbol, rows: int, width: int, scheme: Scheme
) -> Symbol:
    """Multiply by packed rows [N, K], codes around their middle; x is rounded to int8."""
    return nn.node(
        "MatMulNBits", x, codes, scales, domain=CONTRIB, K=width, N=rows, bits=scheme.bits,
        block_size=scheme.group_size, accuracy_level=INT8,
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
