"""Resample a waveform."""

from __future__ import annotations

import numpy as np

_FAR = 100.0


def resampled(samples: np.ndarray, have: int, want: int) -> np.ndarray:
    """Resample by soxr's HQ, to ceil(N * new / old) samples."""
    import soxr

    made = soxr.resample(samples, have, want, quality="HQ")
    count = -(-len(samples) * want // have)
    if len(made) == count:
        return np.asarray(made)
    return np.pad(made[:count], (0, max(0, count - len(made))))


def full_scale(samples: np.ndarray, peak: float) -> float:
    """Return what full scale is of samples that peak above 1.0: their peak, or less.

    Less where the peak is `_FAR` times the level that all but a thousandth of the samples keep: it
    is no sound, but a spike of a converter or an editor.
    """
    kept = len(samples) - 1 - len(samples) // 1000
    level = float(np.partition(np.abs(samples), kept)[kept])
    return max(1.0, min(peak, _FAR * level)) if level else peak


def peak_of(samples: np.ndarray) -> float:
    """Return the largest magnitude without a copy; 0 for no samples."""
    return max(float(samples.max()), -float(samples.min())) if samples.size else 0.0
