"""Power spectra of frames that are centred on multiples of a hop, with reflected edges."""

from __future__ import annotations

import numpy as np

_PRODUCT = 4096  # frames in one product with the filters
_BLOCK = 128 * 400  # samples in one FFT call: 400 kB, which stay in a processor's cache


def filtered_powers(
    samples: np.ndarray, window: np.ndarray, hop: int, filters: np.ndarray, count: int
) -> np.ndarray:
    """Return the first `count` frames' powers through filters [M, bins], float32 [M, count].

    The filters are applied in float32, in blocks of frames.
    """
    found = np.empty((len(filters), count), np.float32)
    for start in range(0, count, _PRODUCT):
        end = min(start + _PRODUCT, count)
        power = power_spectra(samples, window, hop, start, end)
        np.matmul(filters, power.T, out=found[:, start:end])
    return found


def power_spectra(
    samples: np.ndarray, window: np.ndarray, hop: int, first: int, end: int
) -> np.ndarray:
    """Return the power spectra of frames by their numbers, float32 [end - first, bins].

    Frame k is centred on sample k hop. The FFT is taken in float64, which NumPy does faster than
    float32.
    """
    n_fft = len(window)
    power = np.empty((end - first, n_fft // 2 + 1), np.float32)
    block = max(1, _BLOCK // n_fft)
    for start in range(first, end, block):
        stop = min(start + block, end)
        frames = _frames(samples, n_fft, hop, start, stop) * window
        parts = np.fft.rfft(frames).view(np.float64)
        parts *= parts
        real, imaginary = parts[:, 0::2], parts[:, 1::2]
        np.add(real, imaginary, out=power[start - first : stop - first], casting="same_kind")
    return power


def _frames(samples: np.ndarray, n_fft: int, hop: int, first: int, end: int) -> np.ndarray:
    """Return frames by their numbers, [end - first, n_fft]; the clip is reflected at its ends.

    Only what these frames see is copied: a clip may be hours long.
    """
    begin = first * hop - n_fft // 2
    stop = begin + (end - first - 1) * hop + n_fft
    seen = samples[max(0, begin) : stop]
    if begin < 0 or stop > len(samples):
        seen = np.pad(seen, (max(0, -begin), max(0, stop - len(samples))), mode="reflect")
    return np.lib.stride_tricks.sliding_window_view(seen, n_fft)[::hop]
