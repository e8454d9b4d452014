"""Angles of rotary positions, plain or scaled by a rule that is the same at every position."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import numpy as np


@dataclass(frozen=True)
class Llama3:
    """The scaling of Llama 3.1: slow turns are `factor` times slower, fast ones as they were."""

    factor: float
    low: float
    high: float
    original: float


@dataclass(frozen=True)
class Rotary:
    """Positions turn pairs of a head's numbers; `scaling` is a factor, or Llama 3.1's rule."""

    head: int
    base: float
    scaling: float | Llama3 = 1.0

    def frequencies(self) -> np.ndarray:
        """Return how far each pair turns from one position to the next, float64 [head / 2]."""
        plain = self.base ** (-np.arange(0, self.head, 2, dtype=np.float64) / self.head)
        rule = self.scaling
        if not isinstance(rule, Llama3):
            return plain / rule
        lengths = 2 * pi / plain
        smooth = (rule.original / lengths - rule.low) / (rule.high - rule.low)
        blend = np.clip(smooth, 0.0, 1.0)
        return plain * ((1 - blend) / rule.factor + blend)

    def table(self, positions: int) -> tuple[np.ndarray, np.ndarray]:
        """Return cosine and sine of each position's angles, float32 [positions, head / 2]."""
        angles = np.arange(positions)[:, None] * self.frequencies()
        return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
