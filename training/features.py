"""Whisper's log-mel spectrogram, for one clip at its own length."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

RATE = 16000
FFT = 400
HOP = 160


def mel_of(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map frequency to Slaney's mel scale: linear below 1 kHz, logarithmic above."""
    log = 15.0 + 27.0 * np.log(np.maximum(hertz, 1000.0) / 1000.0) / np.log(6.4)
    return np.where(hertz < 1000.0, hertz * 3.0 / 200.0, log)


def hertz_of(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map Slaney's mel scale back to frequency."""
    log = 1000.0 * np.exp(np.log(6.4) / 27.0 * (np.maximum(mel, 15.0) - 15.0))
    return np.where(mel < 15.0, mel * 200.0 / 3.0, log)


@cache
def filters(mels: int) -> NDArray[np.float32]:
    """Make the filter bank `[mels, 201]`: triangles of unit area in hertz, from 0 to 8 kHz."""
    edges = hertz_of(np.linspace(0.0, mel_of(np.array(RATE / 2)), mels + 2))
    bins = np.linspace(0.0, RATE / 2, FFT // 2 + 1)
    rise = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    triangles = np.maximum(0.0, np.minimum(rise, fall))
    return (triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)


def log_mel(wave: NDArray[np.float32], mels: int) -> NDArray[np.float32]:
    """Turn samples at 16 kHz into `[mels, len(wave) // 160]`.

    Periodic Hann window, reflected edges, last frame dropped, log10 floored at 1e-10 and at
    8 below the clip's maximum, then `(x + 4) / 4`.
    """
    padded = np.pad(wave, FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, FFT)[::HOP][: len(wave) // HOP]
    window = np.hanning(FFT + 1)[:-1].astype(np.float32)
    power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2
    log = np.log10(np.maximum(filters(mels) @ power.T, 1e-10))
    out: NDArray[np.float32] = ((np.maximum(log, log.max() - 8.0) + 4.0) / 4.0).astype(np.float32)
    return out
