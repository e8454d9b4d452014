"""Rules of positions that GGUF files have as one divisor for each pair.

Llama 3 scales them, and Gemma-4 turns the first pairs of a head alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from composer.core.errors import ComposerError, Place, Problem

if TYPE_CHECKING:
    from composer.core.location import Location

LOW, HIGH, ORIGINAL = 1.0, 4.0, 8192
CLOSE = 1e-5
LARGEST = 1e4  # divisor and, to the fourth, base
STILL = np.float32(1e30)  # a divisor of pairs that are not turned


def llama3_rule(divisors: np.ndarray, base: Any, file: Location) -> dict[str, Any]:
    """Return the rope_scaling that gives these divisors [pairs], float32, over a base.

    Raise ComposerError where Llama 3's constants do not give them.
    """
    factor = _factor(divisors, base)
    if factor is None:
        _refuse(file, "than Llama 3's rule gives")
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


def turned_part(divisors: np.ndarray, head_dim: Any, file: Location) -> float:
    """Return the part of a head's pairs that Gemma-4 turns: those whose divisor is 1.

    Raise ComposerError where the others are not 1e30, or a head has another number of pairs.
    """
    count = int((divisors == 1).sum())
    expected = np.array([1] * count + [STILL] * (len(divisors) - count), np.float32)
    if not count or not np.array_equal(divisors, expected) or 2 * len(divisors) != head_dim:
        _refuse(file, "than Gemma-4's: 1 for the pairs that are turned, then 1e30")
    return count / len(divisors)


def _refuse(file: Location, what: str) -> NoReturn:
    raise ComposerError(
        Problem(
            "W257",
            f"rope_freqs.weight holds other divisors {what}",
            Place(str(file)),
            hint="give the checkpoint that it was converted from, in safetensors",
        )
    )
