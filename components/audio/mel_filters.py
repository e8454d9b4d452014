"""Mel filters as librosa makes them; the common ones are frozen in a file.

librosa takes more than a second to import.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

TABLES = Path(__file__).with_suffix(".safetensors")

Scale = Literal["slaney", "htk"]


@cache
def mel_filters(rate: int, n_fft: int, mels: int, scale: Scale = "slaney") -> np.ndarray:
    """Return filters from 0 Hz to half the rate, float32 [mels, 1 + n_fft / 2].

    Slaney's scale comes with slaney's norm, by a filter's area; HTK's has peaks of 1.
    """
    from safetensors import safe_open

    name = table_name(rate, n_fft, mels, scale)
    with safe_open(TABLES, "numpy") as tables:
        if name in tables.keys():  # noqa: SIM118, it is no mapping
            found: np.ndarray = tables.get_tensor(name)
            return found
    return computed_mel_filters(rate, n_fft, mels, scale)


def table_name(rate: int, n_fft: int, mels: int, scale: Scale) -> str:
    """Name a frozen table."""
    return f"{scale}-{rate}-{n_fft}-{mels}"


def computed_mel_filters(rate: int, n_fft: int, mels: int, scale: Scale = "slaney") -> np.ndarray:
    """Return librosa's filters, made in float64 and rounded once."""
    import warnings

    from librosa.filters import mel

    htk = scale == "htk"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Empty filters", UserWarning)
        table: Any = mel(
            sr=rate,
            n_fft=n_fft,
            n_mels=mels,
            htk=htk,
            norm=None if htk else "slaney",
            dtype=np.float64,
        )
    filters: np.ndarray = table.astype(np.float32)
    return filters
