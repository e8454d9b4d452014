"""Angles of rotary positions, plain or scaled by a rule that is the same at every position."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, log, pi

import numpy as np


@dataclass(frozen=True)
class Llama3RopeScaling:
    """The scaling of Llama 3.1: slow turns are `factor` times slower, fast ones as they were."""

    factor: float
    low: float
    high: float
    original: float


@dataclass(frozen=True)
class YarnScaling:
    """YaRN (arXiv 2309.00071): pairs that turn less than `slow` times in `original` positions are
    `factor` times slower, those that turn more than `fast` times as they were.

    `rounded` widens the range between them to whole pairs; `attention` grows queries and keys.
    """

    factor: float
    original: float
    fast: float
    slow: float
    rounded: bool
    attention: float

    def _pair(self, turns: float, head: int, base: float) -> float:
        """Return which pair turns so often in `original` positions, a number between two pairs."""
        return head * log(self.original / (turns * 2 * pi)) / (2 * log(base))

    def blend(self, head: int, base: float) -> np.ndarray:
        """Return how much of each pair is slowed, 0 to 1."""
        low, high = self._pair(self.fast, head, base), self._pair(self.slow, head, base)
        if self.rounded:
            low, high = floor(low), ceil(high)
        low, high = max(low, 0), min(high, head - 1)
        if low == high:
            high += 0.001
        part: np.ndarray = np.clip((np.arange(head // 2) - low) / (high - low), 0.0, 1.0)
        return part


@dataclass(frozen=True)
class ProportionalRotary:
    """Of the pairs of a head only the first `part` turn, `factor` times slower; the rest stay."""

    part: float
    factor: float = 1.0


@dataclass(frozen=True)
class Rotary:
    """Positions turn pairs of the first `dims` numbers of a head; `scaling` is a factor or a rule.

    A pair is a number of the first half of them and the same of the second.
    """

    dims: int
    theta: float
    scaling: float | Llama3RopeScaling | YarnScaling | ProportionalRotary = 1.0

    def frequencies(self) -> np.ndarray:
        """Return how far each pair turns from one position to the next, float64 [dims / 2]."""
        plain = self.theta ** (-np.arange(0, self.dims, 2, dtype=np.float64) / self.dims)
        rule = self.scaling
        if isinstance(rule, YarnScaling):
            slowed = rule.blend(self.dims, self.theta)
            made: np.ndarray = plain * (slowed / rule.factor + 1 - slowed)
            return made
        if isinstance(rule, ProportionalRotary):
            turning = np.arange(len(plain)) < int(rule.part * self.dims // 2)
            return np.where(turning, plain / rule.factor, 0.0)
        if not isinstance(rule, Llama3RopeScaling):
            return plain / rule
        lengths = 2 * pi / plain
        smooth = (rule.original / lengths - rule.low) / (rule.high - rule.low)
        blend = np.clip(smooth, 0.0, 1.0)
        return plain * ((1 - blend) / rule.factor + blend)

    def table(self, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Return cosine and sine of each position's angles, float32 [end - start, dims / 2]."""
        angles = np.arange(start, end)[:, None] * self.frequencies()
        growth = self.scaling.attention if isinstance(self.scaling, YarnScaling) else 1.0
        cosine, sine = np.cos(angles) * growth, np.sin(angles) * growth
        return cosine.astype(np.float32), sine.astype(np.float32)
