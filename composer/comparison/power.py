"""Find the smallest fault of each kind that a comparison would have found, by injecting it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from composer.comparison.chance import spread_of_size
from composer.comparison.residuals import Array, Residuals
from composer.comparison.systematic import TESTS

MARGIN = 1.3  # how far over its limit a test must be for a fault to be found in other noise too
FINE, COARSE = 1.15, 2.0  # steps of the search
LARGEST = 4.0  # relative to the reference: nothing larger is looked for
ENERGY = 0.99  # of the reference's rows, that its directions have
ROWS_A_DIRECTION = 8
FEWEST, MOST = 4, 64  # clips that are suggested


@dataclass(frozen=True)
class Power:
    """What one stage's comparison can find: the smallest fault by its kind, and the clips for more.

    Sizes are relative to the RMS of the reference's rows.
    """

    smallest: Mapping[str, float]
    clips: int

    @classmethod
    def of(cls, stage: Residuals) -> Power:
        """Search the smallest size of each kind of fault, from a run that is the floor's."""
        return cls({name: _smallest(stage, name) for name in FAULTS}, suggested_clips(stage))


def suggested_clips(stage: Residuals) -> int:
    """Return how many clips like these give several rows for each direction of the reference."""
    rows_a_clip = len(stage.reference) / stage.clips
    wanted = int(np.ceil(ROWS_A_DIRECTION * _all_directions(stage) / rows_a_clip))
    return min(max(wanted, FEWEST), MOST)


def _all_directions(stage: Residuals) -> float:
    """Return in how many directions rows vary, of which few rows show only some.

    From d1 of half of the rows and d2 of all, where d = all * rows / (rows + constant).
    """
    rows = stage.thin(stage.reference)
    half, whole = _directions(rows[::2]), _directions(rows)
    return float(1 / max(2 / whole - 1 / half, 1 / rows.shape[1]))


def _directions(rows: Array) -> int:
    sizes = np.linalg.svd(rows, compute_uv=False) ** 2
    return int(np.searchsorted(np.cumsum(sizes) / np.sum(sizes), ENERGY)) + 1


def _smallest(stage: Residuals, name: str) -> float:
    size = float(np.sqrt(np.mean(stage.floor**2))) / 64
    for step in (COARSE, FINE):
        while size < LARGEST and not _is_found(stage, name, size):
            size *= step
        if step == COARSE:
            size /= COARSE
    return min(size, LARGEST)


def _is_found(stage: Residuals, name: str, size: float) -> bool:
    """Return whether a fault of this size on top of the floor's noise is found, and with margin."""
    inject, tests = FAULTS[name]
    residual = stage.floor + size * inject(stage)
    findings = [TESTS[test](stage, residual) for test in tests]
    # Noise of few rows varies more, and with it what a fault must be larger than.
    margin = MARGIN * spread_of_size(len(residual))
    return any(each.found > margin * each.limit for each in findings)


def _gain_fault(stage: Residuals) -> Array:
    """Return a gain of 1."""
    return stage.reference


def _offset_fault(stage: Residuals) -> Array:
    """Return an offset of 1."""
    return np.ones_like(stage.reference)


def _saturation_fault(stage: Residuals) -> Array:
    """Return a fault of the largest value that falls with its square, as of another cap."""
    found: Array = stage.reference**3 / np.max(stage.reference**2)
    return found


def _channel_fault(stage: Residuals) -> Array:
    """Return an offset of 1 in the channel of median noise."""
    return _in_one_channel(stage, np.ones(len(stage.reference)))


def _channel_gain_fault(stage: Residuals) -> Array:
    """Return a gain of 1 in the channel of median noise."""
    middle = _middle_channel(stage)
    return _in_one_channel(stage, stage.reference[:, middle])


def _weight_row_fault(stage: Residuals) -> Array:
    """Return what a wrong row of a matrix gives: one direction, by another one of the input.

    Both are directions that the reference's rows vary in.
    """
    random, rows = np.random.default_rng(1), stage.reference
    amount = random.standard_normal(len(rows)) @ rows
    direction = random.standard_normal(len(rows)) @ rows
    made = np.outer(rows @ amount, direction)
    return np.asarray(made / np.sqrt(np.mean(made**2)))


def _random_fault(stage: Residuals) -> Array:
    """Return noise of its own, which has nothing in common but its size."""
    return np.asarray(np.random.default_rng(2).standard_normal(stage.reference.shape))


def _middle_channel(stage: Residuals) -> int:
    """Return the channel whose noise is the median."""
    noise = np.sum(stage.floor**2, axis=0)
    return int(np.argsort(noise)[len(noise) // 2])


def _in_one_channel(stage: Residuals, amount: Array) -> Array:
    made = np.zeros_like(stage.reference)
    made[:, _middle_channel(stage)] = amount
    return made


Fault = tuple[Callable[[Residuals], Array], tuple[str, ...]]
FAULTS: Mapping[str, Fault] = {
    "gain": (_gain_fault, ("values",)),
    "offset": (_offset_fault, ("values",)),
    "saturation": (_saturation_fault, ("values",)),
    "channel": (_channel_fault, ("channel means",)),
    "channel gain": (_channel_gain_fault, ("channel gains",)),
    "weight row": (_weight_row_fault, ("direction", "prediction", "size")),
    "anything": (_random_fault, ("channel means", "channel gains", "size")),
}
