"""Say how sure an error rate is: resample the utterances."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
SEED = 0
CONFIDENCE = 0.95
_DRAWS = 2**22  # indices drawn at once


@dataclass(frozen=True)
class Interval:
    """The percentiles between which a statistic of the resamples lies with CONFIDENCE."""

    low: float
    high: float


@dataclass(frozen=True)
class Paired:
    """The difference of two rates, its interval, and how likely chance alone would show as much.

    `p` is two-sided: twice the smaller share of resamples on one side of 0, counting the ones on 0
    to both sides, and one more than was seen, so that it is never 0.
    """

    difference: float
    interval: Interval
    p: float


def interval(errors: np.ndarray, sizes: np.ndarray) -> Interval | None:
    """Return the interval of sum(errors) / sum(sizes) over utterances drawn with replacement.

    None where no utterance has a reference. Resamples that drew none of those are left out.
    """
    found = _ratios(errors, sizes)
    return _percentiles(found) if len(found) else None


def paired(errors: np.ndarray, others: np.ndarray, sizes: np.ndarray) -> Paired:
    """Compare two systems on utterances drawn alike for both: (errors - others) / sizes."""
    apart = errors.astype(np.int64) - others
    found = _ratios(apart, sizes)
    beyond = min(int((found <= 0).sum()), int((found >= 0).sum()))
    p = min(1.0, 2 * (1 + beyond) / (1 + len(found)))
    return Paired(float(apart.sum() / sizes.sum()), _percentiles(found), p)


def _percentiles(found: np.ndarray) -> Interval:
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(found, [tail, 100 - tail])
    return Interval(float(low), float(high))


def _ratios(errors: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    parts = [errors[drawn].sum(1) / sizes[drawn].sum(1).clip(1) for drawn in _draws(sizes)]
    return np.concatenate(parts) if parts else np.empty(0)


def _draws(sizes: np.ndarray) -> Iterator[np.ndarray]:
    """Yield rows of indices, a resample each, RESAMPLES in all; always the same ones."""
    if not sizes.sum():
        return
    random, count = np.random.default_rng(SEED), len(sizes)
    step = max(1, _DRAWS // count)
    for begin in range(0, RESAMPLES, step):
        drawn = random.integers(0, count, (min(step, RESAMPLES - begin), count))
        yield drawn[sizes[drawn].sum(1) > 0]
