"""Look for what is systematic in a stage's residuals: the noise of a right run averages out.

A residual is a value minus the reference's, over the RMS of the reference's row. Those of a run
that is right but for its noise, the floor's, say what chance gives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from composer.comparison.chance import ALPHA, t_quantile

SLACK = 1.25  # how far beyond what the floor itself shows a right run may be
MIN_ROWS = 8
BINS = 16
MAX_ROWS, MAX_COLUMNS = 1200, 4096  # of what is decomposed
FOLDS = 4
RIDGE = 0.1
CONSTANT = 0.2  # weight of the constant beside the reference's rows

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Residuals:
    """A stage over all clips: rows of the reference [N, D] of RMS 1, and the floor's residuals.

    `scale` [N, 1] is the RMS that rows were divided by, and `folds` [N] parts the rows, by whole
    clips where there are enough.
    """

    reference: Array
    floor: Array
    scale: Array
    folds: Array
    clips: int

    @classmethod
    def of(cls, reference: Sequence[Array], floor: Sequence[Array]) -> Residuals | None:
        """Return the residuals of a stage's rows, clip by clip; None where they are too few."""
        rows, noisy = np.concatenate(reference), np.concatenate(floor)
        if len(rows) < MIN_ROWS or np.array_equal(rows, noisy):
            return None
        scale = np.sqrt(np.mean(rows * rows, axis=1, keepdims=True))
        if not scale.any():
            return None
        scale[scale == 0] = np.sqrt(np.mean(scale**2))
        if len(reference) < FOLDS:
            folds = np.arange(len(rows)) * FOLDS // len(rows)
        else:
            folds = np.repeat(np.arange(len(reference)) % FOLDS, [len(each) for each in reference])
        reference_rows = rows / scale
        return cls(reference_rows, noisy / scale - reference_rows, scale, folds, len(reference))

    def residual(self, actual: Sequence[Array]) -> Array:
        """Return how far a run's rows, clip by clip, are from the reference."""
        found: Array = np.concatenate(actual) / self.scale - self.reference
        return found

    @cached_property
    def bins(self) -> Array:
        """Return, for each number of the reference, which part of its distribution it is in."""
        flat = self.reference.ravel()
        sample = flat[:: max(1, len(flat) // 10**6)]
        edges = np.quantile(sample, np.linspace(0, 1, BINS + 1)[1:-1])
        return np.asarray(np.searchsorted(edges, self.reference))

    @cached_property
    def calibrated(self) -> Mapping[str, tuple[Array, float]]:
        """Return, for each sum, its spread [M] by the floor and how many spreads chance allows."""
        return {name: self._calibrated(sums) for name, sums in SUMS.items()}

    def _calibrated(self, sums: Callable[[Residuals, Array], Array]) -> tuple[Array, float]:
        parts = sums(self, self.floor)
        rounding = 1e-6 * np.sqrt(np.sum(sums(self, self.reference) ** 2, axis=0))
        spread = np.sqrt(np.sum(parts**2, axis=0)) + rounding + 1e-30
        scores = np.sum(parts, axis=0) / spread
        # What all members share, as an error that rows have in common, widens them all.
        common = max(1.0, float(np.sqrt(np.mean(scores**2))))
        chance = SLACK * common * t_quantile(ALPHA / len(scores), len(parts))
        return spread, max(chance, SLACK * float(np.abs(scores).max()))

    @cached_property
    def rows(self) -> Array:
        """Return the numbers of the rows that are decomposed, evenly spread."""
        count = len(self.reference)
        return np.asarray(np.unique(np.linspace(0, count - 1, min(count, MAX_ROWS)).astype(int)))

    def thin(self, array: Array) -> Array:
        """Return those rows, their columns folded with random signs where they are too many."""
        array = array[self.rows]
        count, width = array.shape
        if width <= MAX_COLUMNS:
            return array
        signs = np.random.default_rng(0).choice([-1.0, 1.0], width)
        padded = np.pad(array * signs, [(0, 0), (0, -width % MAX_COLUMNS)])
        return np.asarray(padded.reshape(count, -1, MAX_COLUMNS).sum(axis=1))

    @cached_property
    def weights(self) -> Array:
        """Return how to predict each row from the reference's rows in other folds [N, N]."""
        rows, folds = self.thin(self.reference), self.folds[self.rows]
        alike = rows @ rows.T
        alike = alike / np.mean(np.diag(alike)) + CONSTANT
        weights: Array = np.zeros_like(alike)
        for fold in np.unique(folds):
            inside, others = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
            known = alike[np.ix_(others, others)] + RIDGE * np.eye(len(others))
            across = alike[np.ix_(others, inside)]
            weights[np.ix_(inside, others)] = np.linalg.solve(known, across).T
        return weights

    def predicted(self, residual: Array) -> tuple[float, float]:
        """Return the predictable share of a residual, over the floor's energy, and its error."""
        rows = self.thin(residual)
        each = np.sum((self.weights @ rows) * rows, axis=1)
        energy = np.sum(self.thin(self.floor) ** 2)
        return float(each.sum() / energy), float(np.sqrt(np.sum(each**2)) / energy)

    @cached_property
    def own_predicted(self) -> tuple[float, float]:
        """Return the predictable share of the floor, and its error."""
        return self.predicted(self.floor)

    def along(self, residual: Array) -> float:
        """Return how much larger than the floor's a residual is along its own main direction.

        The direction is that of one half of the folds, and the sizes are those of the other half.
        """
        rows, floor = self.thin(residual), self.thin(self.floor)
        rounding = 1e-6 * self.thin(self.reference)
        ratios = []
        for half in self.halves:
            direction = half.main_direction(rows)
            found = np.sum((rows[half.others] @ direction) ** 2)
            noise = np.sum((floor[half.others] @ direction) ** 2)
            least = np.sum((rounding[half.others] @ direction) ** 2)
            ratios.append(found / (noise + least))
        return float(np.sqrt(np.mean(ratios)))

    @cached_property
    def own_along(self) -> float:
        """Return the same of the floor's own residuals."""
        return self.along(self.floor)

    @cached_property
    def halves(self) -> tuple[Half, Half]:
        """Return the two halves of the folds."""
        floor, first = self.thin(self.floor), self.folds[self.rows] % 2 == 0
        return Half.of(floor, first), Half.of(floor, ~first)


@dataclass(frozen=True)
class Half:
    """Half of the rows, the other half, and the axes along which the floor varies in the first."""

    rows: Array
    others: Array
    axes: Array
    sizes: Array
    ridge: float

    @classmethod
    def of(cls, floor: Array, rows: Array) -> Half:
        """Return the half of the floor's rows that are marked."""
        _, sizes, axes = np.linalg.svd(floor[rows], full_matrices=False)
        ridge = float(np.sum(floor[rows] ** 2) / floor.shape[1])
        return cls(rows, ~rows, axes, np.sqrt(sizes**2 + ridge), ridge)

    def main_direction(self, residual: Array) -> Array:
        """Return where the half's rows vary the most, in units of the floor's own variation."""
        _, _, directions = np.linalg.svd(self._whitened(residual[self.rows]), full_matrices=False)
        return np.asarray(self._whitened(directions[:1])[0])

    def _whitened(self, rows: Array) -> Array:
        inside = rows @ self.axes.T
        rest = (rows - inside @ self.axes) / np.sqrt(self.ridge)
        return np.asarray((inside / self.sizes) @ self.axes + rest)


def _sums_by_value(stage: Residuals, residual: Array) -> Array:
    """Return each row's sums of residuals: by the reference's value, times it, and all [N, M]."""
    count = len(residual)
    cells = stage.bins + BINS * np.arange(count)[:, None]
    sums = np.bincount(cells.ravel(), residual.ravel(), BINS * count).reshape(count, BINS)
    gain = np.sum(residual * stage.reference, axis=1)
    return np.column_stack([sums, gain, residual.sum(axis=1)])


def _sums_by_channel(stage: Residuals, residual: Array) -> Array:
    """Return each row's residuals [N, D]."""
    return residual


def _sums_by_channel_gain(stage: Residuals, residual: Array) -> Array:
    """Return each row's residuals times the reference [N, D]."""
    found: Array = residual * stage.reference
    return found


SUMS: Mapping[str, Callable[[Residuals, Array], Array]] = {
    "by value": _sums_by_value,
    "mean of a channel": _sums_by_channel,
    "gain of a channel": _sums_by_channel_gain,
}
