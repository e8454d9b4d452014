"""The small floats of MLX, as NumPy reads them."""

import mlx.core as mx
import numpy as np
import pytest

from composer.components.checkpoints import affine, microscaled
from composer.formats.quantization import Scheme

ROWS = np.random.default_rng(0).normal(size=(8, 128)).astype(np.float32)


@pytest.mark.parametrize(
    "scheme",
    [Scheme(4, 32, "mxfp4"), Scheme(8, 32, "mxfp8"), Scheme(4, 16, "nvfp4")],
    ids=lambda scheme: scheme.mode,
)
@pytest.mark.parametrize("factor", [1.0, 1e-3, 100.0])
def test_numbers_are_those_of_mlx(scheme, factor):
    options = {"group_size": scheme.group_size, "bits": scheme.bits, "mode": scheme.mode}
    rows = ROWS * np.float32(factor)
    weight, scales = mx.quantize(mx.array(rows), **options)
    theirs = mx.dequantize(weight, scales, None, **options, dtype=mx.float32)
    ours = microscaled.dequantize(np.array(weight), np.array(scales), scheme)
    np.testing.assert_array_equal(ours, np.array(theirs))
    if factor == 1.0 or scheme.mode != "nvfp4":  # whose scales are no smaller than 2**-9
        assert 0 < np.abs(ours - rows).max() < 0.3 * np.abs(rows).max()


@pytest.mark.parametrize("bits", [2, 3, 5, 6])
def test_other_affine_widths_are_those_of_mlx(bits):
    parts = mx.quantize(mx.array(ROWS), group_size=32, bits=bits)
    theirs = mx.dequantize(*parts, group_size=32, bits=bits)
    ours = affine.dequantize(*map(np.array, parts), Scheme(bits, 32, "affine"))
    np.testing.assert_allclose(ours, np.array(theirs), rtol=1e-6, atol=1e-6)
