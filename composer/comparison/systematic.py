"""Test a stage's residuals for what noise does not have, each test for one form of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from composer.comparison.chance import ALPHA, spread_of_size, t_quantile
from composer.comparison.residuals import SLACK, SUMS, Array, Residuals

SIZE_SLACK = 1.4  # how much larger than the floor's noise that of a right run may be
PREDICTED = 0.03  # share of a right run's noise that may be predictable


@dataclass(frozen=True)
class TestResult:
    """What one test found, and the most that a right run gives."""

    test: str
    found: float
    limit: float
    where: str = ""

    @property
    def ok(self) -> bool:
        return self.found <= self.limit

    def __str__(self) -> str:
        return f"{self.test}{self.where} {self.found:.3g} is over {self.limit:.3g}"


def _sum(name: str, stage: Residuals, residual: Array) -> TestResult:
    spread, limit = stage.calibrated[name]
    scores = np.abs(np.sum(SUMS[name](stage, residual), axis=0)) / spread
    worst = int(scores.argmax())
    where = f" {worst}" if "channel" in name else ""
    return TestResult(name, float(scores[worst]), limit, where)


def _values(stage: Residuals, residual: Array) -> TestResult:
    """Look at residuals by the reference's value: a gain, an offset, a saturation."""
    return _sum("by value", stage, residual)


def _channel_means(stage: Residuals, residual: Array) -> TestResult:
    """Look at the mean of each channel."""
    return _sum("mean of a channel", stage, residual)


def _channel_gains(stage: Residuals, residual: Array) -> TestResult:
    """Look at how each channel goes with the reference."""
    return _sum("gain of a channel", stage, residual)


def _size(stage: Residuals, residual: Array) -> TestResult:
    """Look at the size of all residuals."""
    found = float(np.sqrt(np.sum(residual**2) / np.sum(stage.floor**2)))
    return TestResult("size", found, SIZE_SLACK * spread_of_size(len(residual)))


def _prediction(stage: Residuals, residual: Array) -> TestResult:
    """Look at how well residuals of some clips predict those of others, from the reference."""
    found, error = stage.predicted(residual)
    own, own_error = stage.own_predicted
    allowed = max(PREDICTED, SLACK * (own + own_error))
    return TestResult("predictable", found, allowed + t_quantile(ALPHA, len(stage.rows)) * error)


def _direction(stage: Residuals, residual: Array) -> TestResult:
    """Look at the residuals along the direction that they share."""
    chance = spread_of_size(len(stage.rows) // 2)
    limit = SLACK * max(1.0, stage.own_along) * chance
    return TestResult("along one direction", stage.along(residual), limit)


TESTS: Mapping[str, Callable[[Residuals, Array], TestResult]] = {
    "values": _values,
    "channel means": _channel_means,
    "channel gains": _channel_gains,
    "size": _size,
    "prediction": _prediction,
    "direction": _direction,
}


def findings(stage: Residuals, residual: Array) -> list[TestResult]:
    """Return what every test says of a run's residuals."""
    return [test(stage, residual) for test in TESTS.values()]
