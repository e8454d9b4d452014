"""Numbers as digits: what they stand for, and bounds of what is left out."""

import numpy as np
import pytest

from composer.components.checkpoints.weight_digits import split_into_digits


def values(digits, coarse_only=False):
    finest = np.stack([digits.finest & 15, digits.finest >> 4], -1).reshape(digits.fine.shape)
    parts = [
        (digits.coarse, 128, digits.steps),
        (digits.fine, 128, digits.fine_steps),
        (finest, 8, digits.finest_steps),
    ]
    found = [(part.astype(np.float64) - middle) * s[..., None] for part, middle, s in parts]
    found = found[0] if coarse_only else sum(found)
    return found.reshape(len(found), -1)


def narrow(rows, bits):
    """Round to numbers of so many bits, as bfloat16 (8) and float16 (11) have them."""
    mantissa, exponent = np.frexp(rows)
    return np.ldexp(np.round(mantissa * 2**bits) / 2**bits, exponent).astype(np.float32)


@pytest.mark.parametrize(("bits", "least"), [(8, 2.0**-11), (11, 2.0**-8)])
@pytest.mark.parametrize("size", [32, 128])
def test_digits_are_exact_but_for_small_numbers(bits, least, size):
    rng = np.random.default_rng(bits)
    rows = rng.standard_normal((64, 256)) * 10.0 ** rng.integers(-6, 4, (64, 1))
    rows = narrow(rows.astype(np.float32), bits)
    digits = split_into_digits(rows, size)
    groups = np.abs(rows.reshape(64, -1, size))
    largest = np.broadcast_to(groups.max(-1, keepdims=True), groups.shape).reshape(rows.shape)
    off = np.abs(values(digits) - rows)
    assert (off[np.abs(rows) >= least * largest] == 0).all()
    assert (off <= 2.0**-19 * largest).all()
    assert (off > 0).any()
    assert digits.finest.nbytes == rows.size // 2


@pytest.mark.parametrize("scale", [1e-37, 1.0, 1e30])
def test_what_is_left_out_is_bounded_and_not_by_much(scale):
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((50, 192)) * scale).astype(np.float32)
    rows[3] = 0
    rows[4, :64] = 0
    digits = split_into_digits(rows, 64)
    left = np.linalg.norm(rows.astype(np.float64) - values(digits, coarse_only=True), axis=1)
    kept = np.linalg.norm(values(digits, coarse_only=True), axis=1)
    assert (digits.error >= left).all()
    assert (digits.norm >= kept).all()
    assert np.isfinite(digits.norm).all()
    if scale > 1e-30:  # smaller ones are less than the least step
        assert digits.error[5:] == pytest.approx(left[5:], rel=0.03)
    assert values(digits)[3].tolist() == [0] * 192


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_a_row_with_a_number_that_is_none_has_no_finite_norm(odd):
    rows = np.ones((3, 64), np.float32)
    rows[1, 40] = odd
    assert np.isfinite(split_into_digits(rows, 32).norm).tolist() == [True, False, True]


def test_the_ends_of_the_range_fit():
    rows = np.array([[127.0, -127, 127 - 2**-11, -127 + 2**-11] * 8], np.float32)
    digits = split_into_digits(rows, 32)
    assert digits.steps.tolist() == [[2.0]] or digits.steps.tolist() == [[1.0]]
    np.testing.assert_allclose(values(digits), rows, atol=float(digits.steps[0, 0]) / 8192)
