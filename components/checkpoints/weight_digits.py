"""Numbers as digits of 8, 8 and 4 bits: a coarse one, and two for what it leaves out.

Each counts steps from its middle, 256 and 16 times finer than those before. The coarse step of a
group is a power of two, its largest number at most 127 of them. So bfloat16's numbers of at least
2**-11 of it are exact, and float16's of 2**-8; smaller ones are off by 2**-19 of it at most.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FINE, FINEST = 256, 4096  # of them are a coarse step
MIDDLE = 128
# Steps of a byte below the fine one, whose upper half is the finest digit.
LOWEST = 65536
# The middles, and half a finest step so that cutting off the rest is rounding.
OFFSET = np.float32(MIDDLE * LOWEST + MIDDLE * 256 + MIDDLE + 8)
SMALLEST = -100  # the exponent of the least step, far above what float32 can scale by


@dataclass(frozen=True)
class Digits:
    """Rows in groups: `coarse` and `fine` uint8 [N, G, size], two of `finest` in a byte.

    `steps` [N, G] are those of the coarse ones. `error` [N] is the norm of what these leave out, or
    a little more, and `norm` [N] at least that of what they stand for; neither is finite where a
    number of the row is not.
    """

    coarse: np.ndarray
    fine: np.ndarray
    finest: np.ndarray
    steps: np.ndarray
    error: np.ndarray
    norm: np.ndarray

    @property
    def fine_steps(self) -> np.ndarray:
        return self.steps / np.float32(FINE)

    @property
    def finest_steps(self) -> np.ndarray:
        return self.steps / np.float32(FINEST)


def split_into_digits(rows: np.ndarray, size: int) -> Digits:
    """Split rows float32 [N, K] by groups of a size."""
    groups = rows.reshape(len(rows), -1, size)
    largest = np.maximum(groups.max(-1), -groups.min(-1))
    _, exponent = np.frexp(largest / np.float32(127))
    exponent = np.where(largest > 0, np.maximum(exponent, SMALLEST), SMALLEST)
    steps = np.ldexp(np.float32(1), exponent)
    scaled = groups * (LOWEST / steps)[..., None]
    norm = row_norms(group_norms(scaled) * steps / np.float32(LOWEST))
    scaled += OFFSET
    with np.errstate(invalid="ignore"):  # numbers that are none
        digits = scaled.astype("<u4").view(np.uint8).reshape(*groups.shape, 4)
    fine = np.ascontiguousarray(digits[..., 1])
    coarse = np.ascontiguousarray(digits[..., 2])
    finest = digits[..., 0::2, 0] >> 4 | digits[..., 1::2, 0] & 0xF0
    left = np.subtract(fine, np.float32(MIDDLE), dtype=np.float32)
    # The finest digits are worth half a fine step at most, and rounding less than another.
    error = row_norms((group_norms(left) + np.sqrt(size)) * steps / np.float32(FINE))
    return Digits(coarse, fine, finest, steps, error, norm + error)


def group_norms(groups: np.ndarray) -> np.ndarray:
    """Return the norm of each group."""
    found: np.ndarray = np.sqrt(np.einsum("ngk,ngk->ng", groups, groups))
    return found


def row_norms(groups: np.ndarray) -> np.ndarray:
    """Return the norms of rows whose groups have these, above all that float32 has rounded."""
    found: np.ndarray = np.sqrt((groups.astype(np.float64) ** 2).sum(-1)) * (1 + 1e-5)
    return found.astype(np.float32)
