"""Blocks of ggml against gguf's dequantizers: every bit, of any bytes."""

import numpy as np
import pytest
from gguf import GGMLQuantizationType
from gguf.quants import dequantize as theirs

from composer.components.checkpoints.ggml_blocks import (
    PACKED,
    SIZES,
    SYMMETRIC,
    block_midpoint_values,
    dequantize,
    packed_codes,
    packed_scales,
)

pytestmark = pytest.mark.filterwarnings("ignore:(invalid value|overflow) encountered")


def draw(dtype):
    return np.random.default_rng(3).integers(0, 256, (7, 40 * SIZES[dtype][1]), np.uint8)


@pytest.mark.parametrize("dtype", SIZES)
def test_values_are_ggufs_to_the_bit(dtype):
    raw = draw(dtype)
    expected, found = theirs(raw, GGMLQuantizationType[dtype.upper()]), dequantize(raw, dtype)
    assert found.dtype == expected.dtype == np.float32
    numbers = ~np.isnan(expected)
    assert numbers.mean() > 0.8
    np.testing.assert_array_equal(np.isnan(found), ~numbers)
    np.testing.assert_array_equal(found.view(np.uint32)[numbers], expected.view(np.uint32)[numbers])


@pytest.mark.parametrize("dtype", PACKED)
def test_codes_are_what_a_kernel_multiplies(dtype):
    """Codes of 4 bits lie two in a byte, the first in its lower half; the middle code is 0."""
    raw, (bits, mode) = draw(dtype), PACKED[dtype]
    codes, scales = packed_codes(raw, dtype), packed_scales(raw, dtype)
    if bits == 4:
        codes = np.stack([codes & 15, codes >> 4], axis=-1)
    expected = dequantize(raw, dtype).reshape(7, -1, 32)
    codes = codes.reshape(expected.shape)
    values = (codes.astype(np.float32) - 2 ** (bits - 1)) * scales[..., None]
    if mode == SYMMETRIC:
        numbers = np.isfinite(scales)
        np.testing.assert_array_equal(values[numbers], expected[numbers])
        return
    offsets = block_midpoint_values(raw, dtype)
    assert offsets.dtype == np.float32
    assert offsets.shape == scales.shape
    numbers = np.isfinite(scales) & np.isfinite(offsets)
    largest = np.maximum(np.abs(offsets), 16 * np.abs(scales))[numbers][:, None]
    found = values[numbers] + offsets[numbers][:, None]
    assert np.abs((found - expected[numbers]) / np.maximum(largest, 1e-30)).max() < 1e-6
