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
# The middles, and a half so that cutting off the rest is rounding.
OFFSET = np.float32(MIDDLE * FINEST + MIDDLE * FINEST / FINE + 8 + 0.5)
SMALLEST = -100  # the exponent of the least step, far above what float32 can scale by


@dataclass(frozen=True)
class Digits:
    """Rows in groups: `coarse` and `fine` uint8 [N, G, size], two of `finest` in a byte.

    `steps` [N, G] are those of the coarse ones. `error` [N] is the norm of what these leave out, or
    a little more, and `norm` [N] at least that of what they stand for.
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


def split(rows: np.ndarray, size: int) -> Digits:
    """Split rows float32 [N, K] by groups of a size."""
    groups = rows.reshape(len(rows), -1, size)
    largest = np.maximum(groups.max(-1), -groups.min(-1))
    _, exponent = np.frexp(largest / np.float32(127))
    exponent = np.where(largest > 0, np.maximum(exponent, SMALLEST), SMALLEST)
    steps = np.ldexp(np.float32(1), exponent)
    scaled = groups * (FINEST / steps)[..., None]
    scaled += OFFSET
    whole = scaled.astype(np.uint32)
    last = (whole & 15).astype(np.uint8)
    whole >>= 4
    fine, coarse = whole.astype(np.uint8), (whole >> 8).astype(np.uint8)
    finest = last[..., 0::2] | last[..., 1::2] << 4
    left = np.subtract(fine, np.float32(MIDDLE), dtype=np.float32)
    # The finest digits are worth half a fine step at most, and rounding less than another.
    error = _norm((_norms(left) + np.sqrt(size)) * steps / np.float32(FINE))
    return Digits(coarse, fine, finest, steps, error, _norm(_norms(groups)) + error)


def _norms(groups: np.ndarray) -> np.ndarray:
    """Return the norm of each group."""
    found: np.ndarray = np.sqrt(np.einsum("ngk,ngk->ng", groups, groups))
    return found


def _norm(groups: np.ndarray) -> np.ndarray:
    """Return the norms of rows whose groups have these, above all that float32 has rounded."""
    found: np.ndarray = np.sqrt((groups.astype(np.float64) ** 2).sum(-1)) * (1 + 1e-5)
    return found.astype(np.float32)
