"""Llama 3's scaling of positions, which GGUF files have as one divisor for each pair."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from composer.core.errors import ComposerError, Place, Problem

if TYPE_CHECKING:
    from composer.core.location import Location

LOW, HIGH, ORIGINAL = 1.0, 4.0, 8192
CLOSE = 1e-5
LARGEST = 1e4  # divisor and, to the fourth, base


def llama3_rule(divisors: np.ndarray, base: Any, file: Location) -> dict[str, Any]:
    """Return the rope_scaling that gives these divisors [pairs], float32, over a base.

    Raise ComposerError where Llama 3's constants do not give them.
    """
    factor = _factor(divisors, base)
    if factor is None:
        message = "rope_freqs.weight holds other divisors than Llama 3's rule gives"
        raise ComposerError(
            Problem(
                "W257",
                message,
                Place(str(file)),
                hint="give the checkpoint that it was converted from, in safetensors",
            )
        )
    return {
        "rope_type": "llama3",
        "factor": factor,
        "low_freq_factor": LOW,
        "high_freq_factor": HIGH,
        "original_max_position_embeddings": ORIGINAL,
    }


def _factor(divisors: np.ndarray, base: Any) -> float | None:
    """Return the factor by which the rule gives these divisors, if it does."""
    if not isinstance(base, int | float) or not 1 <= base <= LARGEST**4:
        return None
    if len(divisors) == 0 or not np.all((divisors >= 1) & (divisors <= LARGEST)):
        return None
    factor = round(float(divisors.max()), 3)
    lengths = 2 * np.pi * base ** (np.arange(len(divisors)) / len(divisors))
    smooth = np.clip((ORIGINAL / lengths - LOW) / (HIGH - LOW), 0.0, 1.0)
    expected = 1 / ((1 - smooth) / factor + smooth)
    return factor if np.allclose(divisors, expected, rtol=CLOSE, atol=0) else None
