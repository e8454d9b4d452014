"""Resample a waveform."""

from __future__ import annotations

import numpy as np


def resampled(samples: np.ndarray, have: int, want: int) -> np.ndarray:
    """Return samples at another rate: soxr's HQ, to ceil(N * want / have) of them."""
    import soxr

    made = soxr.resample(samples, have, want, quality="HQ")
    count = -(-len(samples) * want // have)
    if len(made) == count:
        return np.asarray(made)
    return np.pad(made[:count], (0, max(0, count - len(made))))


def peak_of(samples: np.ndarray) -> float:
    """Return the largest magnitude without a copy; 0 of nothing."""
    return max(float(samples.max()), -float(samples.min())) if samples.size else 0.0
