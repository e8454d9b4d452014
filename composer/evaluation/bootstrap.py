"""Estimate the uncertainty of error rates by bootstrap and randomization of utterances."""

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
class ConfidenceInterval:
    """The percentile interval of a statistic over the resamples, at CONFIDENCE."""

    low: float
    high: float


@dataclass(frozen=True)
class PairedDifference:
    """The difference of two rates, its interval, and its p-value.

    `interval` is of the paired bootstrap, None of a single utterance. `p` is two-sided, of
    approximate randomization: the share of ways to swap the two systems on some utterances that
    show as large a difference. At least 2 of the 2^n ways do, so few utterances prove
    nothing.
    """

    difference: float
    interval: ConfidenceInterval | None
    p: float


def bootstrap_interval(errors: np.ndarray, sizes: np.ndarray) -> ConfidenceInterval | None:
    """Return the interval of sum(errors) / sum(sizes) over utterances drawn with replacement.

    None if fewer than two utterances have a reference. Resamples without any of those are
    left out.
    """
    if np.count_nonzero(sizes) < 2:
        return None
    return _percentile_interval(_ratios(errors, sizes))


def paired_bootstrap(errors: np.ndarray, others: np.ndarray, sizes: np.ndarray) -> PairedDifference:
    """Compare two systems on the same resamples: (errors - others) / sizes."""
    differences = errors.astype(np.int64) - others
    return PairedDifference(
        float(differences.sum() / sizes.sum()),
        bootstrap_interval(differences, sizes),
        _randomization_p(differences),
    )


def _randomization_p(differences: np.ndarray) -> float:
    """Return the share of swaps whose difference is at least as extreme as the observed one.

    All swaps of a few utterances are tried; of more, RESAMPLES random ones and the observed one.
    """
    differences = differences[differences != 0]
    count, extreme = len(differences), abs(int(differences.sum()))
    if count <= EXACT:
        signs = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
        return float(np.mean(np.abs(signs @ differences) >= extreme))
    random, digest = np.random.default_rng(SEED), 1
    step = max(1, _DRAWS // count)
    for begin in range(0, RESAMPLES, step):
        signs = random.integers(0, 2, (min(step, RESAMPLES - begin), count)) * 2 - 1
        digest += int((np.abs(signs @ differences) >= extreme).sum())
    return digest / (RESAMPLES + 1)


def _percentile_interval(found: np.ndarray) -> ConfidenceInterval:
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(found, [tail, 100 - tail])
    return ConfidenceInterval(float(low), float(high))


def _ratios(errors: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    parts = [np.empty(0)]
    for drawn in _draws(sizes):
        parts.append(errors[drawn].sum(1) / sizes[drawn].sum(1).clip(1))
    return np.concatenate(parts)


def _draws(sizes: np.ndarray) -> Iterator[np.ndarray]:
    """Yield rows of indices, one per resample, RESAMPLES in all, from a fixed seed."""
    if not sizes.sum():
        return
    random, count = np.random.default_rng(SEED), len(sizes)
    step = max(1, _DRAWS // count)
    for begin in range(0, RESAMPLES, step):
        drawn = random.integers(0, count, (min(step, RESAMPLES - begin), count))
        yield drawn[sizes[drawn].sum(1) > 0]
