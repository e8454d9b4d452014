"""Rows that are packed without MLX have the bits of mx.quantize."""

import mlx.core as mx
import numpy as np
import pytest

from composer.components.checkpoints import affine
from composer.components.mlx import packer
from composer.formats.affine_packing import pack, quantize, stored
from composer.formats.quantization import SCHEMES, Scheme

BITS, SIZES, _ = SCHEMES["affine"]


def rows(dtype):
    """Return rows of several kinds: usual, of one sign, constant, zero, tiny and with ties."""
    draw = np.random.default_rng(3)
    made = draw.normal(0, 1, (12, 256)).astype(np.float32)
    made[1] = abs(made[1])
    made[2] = -abs(made[2])
    made[3], made[4] = 0.5, 0
    made[5] *= 1e-9
    made[6] = np.resize(np.arange(-8, 8), 256)  # codes that are halfway
    made[7] *= 1e4
    return stored(made, dtype)


@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
@pytest.mark.parametrize("size", sorted(SIZES))
@pytest.mark.parametrize("bits", sorted(BITS - {1}))
def test_the_bits_are_those_of_mlx(bits, size, dtype):
    scheme = Scheme(bits, size, "affine")
    data = rows(dtype).tobytes()
    assert pack(data, dtype, 256, scheme) == packer.pack_rows(data, dtype, 256, scheme)


def test_what_is_packed_is_near_what_it_was():
    given = rows("f32")
    scheme = Scheme(6, 32, "affine")
    weight, scales, biases = quantize(given, scheme, "f32")
    found = affine.dequantize(weight, scales, biases, scheme)
    step = abs(scales).repeat(32, axis=1)
    error = abs(found - given)  # the end far from the edge may be clipped by half a step more
    assert (error <= 1.001 * step + 1e-7).all()
    assert (error <= 0.501 * step + 1e-7).mean() > 0.98
    theirs = mx.dequantize(*map(mx.array, (weight, scales, biases)), group_size=32, bits=6)
    assert np.allclose(found, np.array(theirs), rtol=1e-6, atol=1e-9)
