"""Find out what the kernels for int8 do in this library, on this machine."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from composer.core.placement import Placement
from composer.formats.quantization import Scheme

from ..blocks import OnnxBlocks, Symbol
from ..int8_planes import write_packed_matmul, write_planes, write_sum_over_planes
from ..weights import WeightsLayout
from .session import open_sessions

NEAR = 2e-6  # of the largest number, as products in float32 are; two planes are at 5e-5
OUTPUTS, GROUPS, SIZE, ROWS = 16, 4, 32, 3
# What kernels take at once, and what is left over: of columns, groups and rows.
COLUMNS, WIDTHS, TOGETHER = 67, (8, 13), 7
Write = Callable[[OnnxBlocks, Symbol, tuple[Symbol, Symbol]], Symbol]


@cache
def int8_planes_are_exact() -> bool:
    """Return whether planes are exact: by a kernel that rounds whole rows, say, they are not."""
    return all(int8_plane_error(bits) < NEAR for bits in (4, 8))


@cache
def int8_rows_are_summed_in_pairs(scheme: Scheme) -> bool:
    """Return whether a row's products depend on how many rows there are, in their last bits."""
    return not all(_alike_alone(scheme, groups) for groups in WIDTHS)


def int8_plane_error(bits: int) -> float:
    """Return how far a product by planes is from one in float64, of the largest number."""
    rng = np.random.default_rng(bits)
    width, middle = GROUPS * SIZE, 1 << (bits - 1)
    codes = rng.integers(0, 2 * middle, (OUTPUTS, width), np.uint8)
    # Groups, and rows, are of different sizes.
    x = rng.standard_normal((ROWS, width)) * np.exp(2 * rng.standard_normal(width))
    x = x.astype(np.float32)
    scheme = Scheme(bits, SIZE, "affine")

    def write(nn: OnnxBlocks, rows: Symbol, packed: tuple[Symbol, Symbol]) -> Symbol:
        groups = nn.reshape(rows, 0, 1, GROUPS, SIZE)
        planes = write_planes(nn, groups, None, scheme, width)
        products = write_packed_matmul(nn, planes, *packed, OUTPUTS, width, scheme)
        return write_sum_over_planes(nn, products, None, OUTPUTS)

    found = multiplied(codes, scheme, write)(x)
    wanted = x.astype(np.float64) @ (codes.astype(np.float64) - middle).T
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def _alike_alone(scheme: Scheme, groups: int) -> bool:
    """Return whether rows of so many groups have the same bits alone and in any company."""
    rng = np.random.default_rng(groups)
    width = groups * scheme.group_size
    codes = rng.integers(0, 1 << scheme.bits, (COLUMNS, width), np.uint8)
    x = rng.standard_normal((TOGETHER, width)).astype(np.float32)

    def write(nn: OnnxBlocks, rows: Symbol, packed: tuple[Symbol, Symbol]) -> Symbol:
        return write_packed_matmul(nn, rows, *packed, COLUMNS, width, scheme)

    multiply = multiplied(codes, scheme, write)
    whole = multiply(x)
    counts = range(1, TOGETHER)
    return all(np.array_equal(multiply(x[-count:]), whole[-count:]) for count in counts)


def multiplied(
    codes: np.ndarray, scheme: Scheme, write: Write
) -> Callable[[np.ndarray], np.ndarray]:
    """Return what multiplies rows by codes [N, K] as `write` writes it, all scales 1."""
    outputs, width = codes.shape
    groups = width // scheme.group_size
    stored = codes[:, 0::2] | codes[:, 1::2] << 4 if scheme.bits == 4 else codes
    scales = np.ones(outputs * groups, np.float32)

    def build(weights: WeightsLayout) -> None:
        nn = OnnxBlocks(weights, (), lambda name: np.zeros(0))
        weights.model.add_input("x", "float32", ["M", width])
        weights.model.add_output("y", "float32", ["M", outputs])
        packed = nn.constant(stored.reshape(outputs, groups, -1)), nn.constant(scales)
        weights.model.node("Identity", [write(nn, Symbol("x", nn), packed).name], ["y"])

    (session,) = open_sessions("int8", codes.nbytes, build, Placement(threads=1))
    return lambda rows: session.call({"x": rows})
