"""Say how sure an error rate is: resample the utterances, or swap two systems on some of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

RESAMPLES = 10_000
SEED = 0
CONFIDENCE = 0.95
EXACT = 12  # utterances that differ, up to which every swap is tried
_DRAWS = 2**22  # indices drawn at once


@dataclass(frozen=True)
class Interval:
    """The percentiles between which a statistic of the resamples lies with CONFIDENCE."""

    low: float
    high: float


@dataclass(frozen=True)
class Paired:
    """The difference of two rates, its interval, and how likely chance alone would show as much.

    `interval` is of the paired bootstrap, None of a single utterance. `p` is two-sided, of
    approximate randomization: the share of ways to swap the two systems on some utterances that
    show as large a difference. No fewer than 2 of the 2^n ways do, so that few utterances prove
    nothing.
    """

    difference: float
    interval: Interval | None
    p: float


def interval(errors: np.ndarray, sizes: np.ndarray) -> Interval | None:
    """Return the interval of sum(errors) / sum(sizes) over utterances drawn with replacement.

    None where fewer than two utterances have a reference. Resamples that drew none of those are
    left out.
    """
    if np.count_nonzero(sizes) < 2:
        return None
    return _percentiles(_ratios(errors, sizes))


def paired(errors: np.ndarray, others: np.ndarray, sizes: np.ndarray) -> Paired:
    """Compare two systems on utterances drawn alike for both: (errors - others) / sizes."""
    apart = errors.astype(np.int64) - others
    return Paired(float(apart.sum() / sizes.sum()), interval(apart, sizes), _swapped(apart))


def _swapped(apart: np.ndarray) -> float:
    """Return the share of swaps of utterances whose sum is as far from 0 as that of all.

    Every swap of a few utterances is tried; of more, RESAMPLES drawn ones and the one that is.
    """
    apart = apart[apart != 0]
    count, far = len(apart), abs(int(apart.sum()))
    if count <= EXACT:
        signs = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
        return float(np.mean(np.abs(signs @ apart) >= far))
    random, seen = np.random.default_rng(SEED), 1
    step = max(1, _DRAWS // count)
    for begin in range(0, RESAMPLES, step):
        signs = random.integers(0, 2, (min(step, RESAMPLES - begin), count)) * 2 - 1
        seen += int((np.abs(signs @ apart) >= far).sum())
    return seen / (RESAMPLES + 1)


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
