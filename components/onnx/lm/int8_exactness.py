"""Find out whether planes are exact in this library, on this machine."""

from __future__ import annotations

from functools import cache
from math import prod

import numpy as np

from composer.core.placement import Placement
from composer.formats.quantization import Scheme

from ..blocks import OnnxBlocks, Symbol
from ..int8_planes import RowCount, write_packed_matmul, write_planes, write_sum_over_planes
from ..weights import WeightsLayout
from .session import open_sessions

NEAR = 2e-6  # of the largest number, as products in float32 are; two planes are at 5e-5
OUTPUTS, GROUPS, SIZE, ROWS = 16, 4, 32, 3


@cache
def int8_planes_are_exact() -> bool:
    """Return whether planes are exact: by a kernel that rounds whole rows, say, they are not."""
    return all(int8_plane_error(bits) < NEAR for bits in (4, 8))


def int8_plane_error(bits: int) -> float:
    """Return how far a product by planes is from one in float64, of the largest number."""
    rng = np.random.default_rng(bits)
    width, middle = GROUPS * SIZE, 1 << (bits - 1)
    codes = rng.integers(0, 2 * middle, (OUTPUTS, width), np.uint8)
    # Groups, and rows, are of different sizes.
    x = rng.standard_normal((ROWS, width)) * np.exp(2 * rng.standard_normal(width))
    x = x.astype(np.float32)

    def build(weights: WeightsLayout) -> None:
        nn = OnnxBlocks(weights, (), lambda name: np.zeros(0))
        stored = codes[:, 0::2] | codes[:, 1::2] << 4 if bits == 4 else codes
        shape = (OUTPUTS, GROUPS, prod(stored.shape) // OUTPUTS // GROUPS)
        scales = np.ones(OUTPUTS * GROUPS, np.float32)
        weights.model.add_input("x", "float32", ["M", width])
        weights.model.add_output("y", "float32", ["M", OUTPUTS])
        rows = Symbol("x", nn)
        groups = nn.reshape(rows, 0, 1, GROUPS, SIZE)
        scheme = Scheme(bits, SIZE, "affine")
        planes = write_planes(nn, groups, RowCount(nn, rows), scheme, width)
        packed = nn.constant(stored.reshape(shape)), nn.constant(scales)
        products = write_packed_matmul(nn, planes, *packed, OUTPUTS, width, scheme)
        made = write_sum_over_planes(nn, products, OUTPUTS)
        weights.model.node("Identity", [made.name], ["y"])

    (session,) = open_sessions("planes", codes.nbytes, build, Placement(threads=1))
    wanted = x.astype(np.float64) @ (codes.astype(np.float64) - middle).T
    return float(np.abs(session.call({"x": x}) - wanted).max() / np.abs(wanted).max())
