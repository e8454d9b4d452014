"""Resample by a polyphase filter, as scipy.signal.resample_poly does with its defaults.

The package does not need scipy for it: the filter is a windowed sinc, and its formulas are those of
scipy's documentation (`resample_poly`, `firwin`), in float64.
"""

from __future__ import annotations

from math import gcd

import numpy as np

_BETA = 5.0  # of the Kaiser window
_REACH = 10  # zero crossings of the sinc on each side
_BLOCK = 1 << 15  # samples that are made at once: 16 MB of what they see


def resample_poly(samples: np.ndarray, have: int, want: int) -> np.ndarray:
    """Return samples [N] at another rate, float64 [ceil(N want / have)], with zeros around them."""
    common = gcd(have, want)
    up, down = want // common, have // common
    if up == down:
        return samples.astype(np.float64)
    half = _REACH * max(up, down)
    taps = np.pad(_low_pass(half, max(up, down)) * up, (0, -(2 * half + 1) % up))
    phases = taps.reshape(-1, up).T[:, ::-1]  # [up, K], the latest sample last
    reach = phases.shape[1]
    count = -(-len(samples) * up // down)
    behind = ((count - 1) * down + half) // up + 1 - len(samples)
    padded = np.pad(samples.astype(np.float64), (reach - 1, max(0, behind)))
    seen = np.lib.stride_tricks.sliding_window_view(padded, reach)
    made = np.empty(count)
    for first in range(min(up, count)):  # outputs that are `up` apart share a phase
        latest, phase = divmod(first * down + half, up)
        own, windows = made[first::up], seen[latest::down]
        for start in range(0, len(own), _BLOCK):
            stop = min(start + _BLOCK, len(own))
            own[start:stop] = windows[start:stop] @ phases[phase]
    return made


def _low_pass(half: int, factor: int) -> np.ndarray:
    """Return a filter of 2 half + 1 taps that passes one part in `factor` and adds up to 1."""
    away = np.arange(-half, half + 1)
    taps = np.sinc(away / factor) * np.kaiser(2 * half + 1, _BETA)
    normed: np.ndarray = taps / taps.sum()
    return normed
