"""Bound what chance gives."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

ALPHA = 1e-5  # of one test of one stage, for all that it looks at together


def t_quantile(alpha: float, count: int) -> float:
    """Return what a mean of `count` numbers, over its own error, exceeds by chance, either way.

    By Wallace's approximation of Student's distribution: a few percent above it in the far tail.
    """
    normal = -NormalDist().inv_cdf(alpha / 2)
    free = max(count - 1, 3)
    return float(np.sqrt(free * np.expm1((free - 1.5) / (free - 1) ** 2 * normal**2)))


def spread_of_size(count: int) -> float:
    """Return by what factor the size of `count` rows of noise may be larger by chance."""
    return float(np.exp(-NormalDist().inv_cdf(ALPHA) / np.sqrt(2 * count)))
