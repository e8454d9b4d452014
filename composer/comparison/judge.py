"""Judge one stage over all clips: each by its gates, and all by what they have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from composer.comparison.candidate import Found
from composer.comparison.dump import Stage, plain
from composer.comparison.gates import Measures, StageVerdict, Tolerance, compare, rows_along
from composer.comparison.power import Power
from composer.comparison.residuals import Residuals
from composer.comparison.systematic import findings

FLOATS = {"f16", "bf16", "f32", "f64"}
NOTHING = Measures(0.0, 0.0, 0.0, 0.0)
REFERENCE, FLOOR = "reference", "floor"


@dataclass(frozen=True)
class Pair:
    """A stage of one clip: what is expected, and what was found.

    `floor` is what the floor's run gave; `alike` says that the found value came about as the
    reference's did, or as the floor's, so that it differs from that by rounding alone.
    """

    clip: str
    expected: Stage
    actual: Found
    floor: Any = None
    alike: str = ""


@dataclass(frozen=True)
class StageJudge:
    """How to compare stages: a tolerance or each stage's own noise; float dtypes may be free."""

    tolerance: Tolerance | None = None
    any_float: bool = False

    def allowed(self, expected: Stage, alike: bool = False) -> Tolerance:
        """Return a stage's tolerance.

        The given one; else rounding, where the two sides came about alike; else four times the
        stage's noise; else 1e-4.
        """
        if self.tolerance:
            return self.tolerance
        if alike:
            return Tolerance.of(NOTHING)
        if expected.floor:
            return Tolerance.of(expected.floor)
        return Tolerance()

    def verdict(self, actual: Stage, expected: Stage, alike: bool = False) -> StageVerdict:
        allowed = self.allowed(expected, alike)
        dtypes = (actual.dtype, expected.dtype)
        x, r = plain(actual.value), plain(expected.value)
        if self.any_float and FLOATS.issuperset(dtypes):
            dtypes = (expected.dtype, expected.dtype)
            x, r = x.astype("float64"), r.astype("float64")
        return compare(x, r, allowed, dtypes, (actual.axes, expected.axes), expected.along)

    def judge(self, pairs: Sequence[Pair]) -> StageVerdict:
        """Return the verdict on a stage over all clips."""
        noise = _largest([pair.expected.floor for pair in pairs])
        if noise:
            # Measured once, a gain may be small by chance: what its rows give by chance passes too.
            rows = min(len(_rows(pair, pair.expected.value)) for pair in pairs)
            noise = replace(noise, gain=max(noise.gain, noise.l2 / max(rows, 1) ** 0.5))
        verdicts = [self._one(pair, noise) for pair in pairs]
        merged = _merged([pair.clip for pair in pairs], verdicts)
        if self.tolerance or not merged.measures:
            return merged
        return _with_systematic(merged, pairs)

    def _one(self, pair: Pair, noise: Measures | None) -> StageVerdict:
        if isinstance(pair.actual, StageVerdict):
            return pair.actual
        expected = replace(pair.expected, floor=noise)
        if pair.alike == FLOOR and not self.tolerance:
            expected = replace(expected, value=pair.floor)
        return self.verdict(pair.actual, expected, bool(pair.alike))


def _largest(measures: Sequence[Measures | None]) -> Measures | None:
    """Return the largest of each measure; None where one of them is not known."""
    largest: dict[str, float] = {}
    for each in measures:
        if each is None:
            return None
        for name, number in asdict(each).items():
            largest[name] = max(largest.get(name, number), number)
    return Measures(**largest)


def _merged(clips: Sequence[str], verdicts: Sequence[StageVerdict]) -> StageVerdict:
    """Return the faults of every clip, and the largest of each measure."""
    if len(verdicts) == 1:
        return verdicts[0]
    faults = []
    for clip, verdict in zip(clips, verdicts, strict=True):
        for fault in verdict.faults:
            faults.append(f"{clip}: {fault}")
    measures = _largest([verdict.measures for verdict in verdicts])
    return StageVerdict(tuple(faults), measures, verdicts[0].allowed)


def _with_systematic(verdict: StageVerdict, pairs: Sequence[Pair]) -> StageVerdict:
    """Return a verdict with what residuals have in common, where a run has measured the noise."""
    if any(pair.alike or not _has_noise(pair) for pair in pairs):
        return verdict
    expected = [_rows(pair, pair.expected.value) for pair in pairs]
    if len({rows.shape[1] for rows in expected}) > 1:
        return verdict
    found = Residuals.of(expected, [_rows(pair, pair.floor) for pair in pairs])
    if found is None:
        return verdict
    actual = [_rows(pair, pair.actual.value) for pair in pairs if isinstance(pair.actual, Stage)]
    tests = findings(found, found.residual(actual))
    wrong = [str(finding) for finding in tests if not finding.ok]
    faults = (*verdict.faults, *wrong)
    if faults:
        return replace(verdict, faults=faults)
    return replace(verdict, power=Power.of(found))


def _has_noise(pair: Pair) -> bool:
    """Return whether a clip's noise is known at every number."""
    floor, expected = plain(pair.floor), plain(pair.expected.value)
    same = isinstance(floor, np.ndarray) and floor.shape == expected.shape
    return same and floor.dtype.kind == "f" and bool(np.isfinite(floor).all())


def _rows(pair: Pair, value: Any) -> np.ndarray:
    return rows_along(np.asarray(plain(value), np.float64), pair.expected.along)
