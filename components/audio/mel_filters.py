"""Mel filters as computed by librosa; common ones are stored in a file.

librosa itself is not imported: that takes more than a second, and its compiler reads settings from
the working folder, which may contain an untrusted bundle.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

TABLES = Path(__file__).with_suffix(".safetensors")

Scale = Literal["slaney", "htk"]


@cache
def mel_filters(rate: int, n_fft: int, mels: int, scale: Scale = "slaney") -> np.ndarray:
    """Return filters from 0 Hz to half the rate, float32 [mels, 1 + n_fft / 2].

    Slaney's scale is normalized by a filter's area; HTK's has peaks of 1.
    """
    from safetensors import safe_open

    name = filter_table_name(rate, n_fft, mels, scale)
    with safe_open(TABLES, "numpy") as tables:
        if name in tables.keys():  # noqa: SIM118, it is no mapping
            found: np.ndarray = tables.get_tensor(name)
            return found
    return computed_mel_filters(rate, n_fft, mels, scale)


def filter_table_name(rate: int, n_fft: int, mels: int, scale: Scale) -> str:
    """Return the name of a stored table."""
    return f"{scale}-{rate}-{n_fft}-{mels}"


def computed_mel_filters(rate: int, n_fft: int, mels: int, scale: Scale = "slaney") -> np.ndarray:
    """Return the filters by librosa's formula, computed in float64 and rounded once."""
    to_mel, to_hertz = (_to_htk, _from_htk) if scale == "htk" else (_to_slaney, _from_slaney)
    ends = to_mel(np.array([0.0, rate / 2]))
    peaks = to_hertz(np.linspace(ends[0], ends[1], mels + 2))
    bins = np.fft.rfftfreq(n_fft, 1 / rate)
    widths = np.diff(peaks)[:, None]
    ramps = peaks[:, None] - bins
    rising, falling = -ramps[:-2] / widths[:-1], ramps[2:] / widths[1:]
    filters: np.ndarray = np.maximum(0, np.minimum(rising, falling))
    if scale == "slaney":
        filters *= (2.0 / (peaks[2:] - peaks[:-2]))[:, None]
    return filters.astype(np.float32)


# Slaney's scale is linear up to 1000 Hz, in steps of 200/3 Hz, and logarithmic above.
_LINEAR, _BEND = 200.0 / 3, 1000.0
_BEND_MEL, _LOG_STEP = _BEND / _LINEAR, np.log(6.4) / 27.0


def _to_slaney(hertz: np.ndarray) -> np.ndarray:
    above = _BEND_MEL + np.log(np.maximum(hertz, _BEND) / _BEND) / _LOG_STEP
    return np.where(hertz >= _BEND, above, hertz / _LINEAR)


def _from_slaney(mel: np.ndarray) -> np.ndarray:
    above = _BEND * np.exp(_LOG_STEP * (np.maximum(mel, _BEND_MEL) - _BEND_MEL))
    return np.where(mel >= _BEND_MEL, above, _LINEAR * mel)


def _to_htk(hertz: np.ndarray) -> np.ndarray:
    mel: np.ndarray = 2595.0 * np.log10(1.0 + hertz / 700.0)
    return mel


def _from_htk(mel: np.ndarray) -> np.ndarray:
    hertz: np.ndarray = 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    return hertz
