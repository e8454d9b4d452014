"""Compare two values by several measures, all of which must be within tolerance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from composer.comparison.power import Power

FLOOR_FACTOR = 4.0  # how far beyond the measured noise a stage may be
EXCERPT = 40  # characters of a long text around a difference
MAX_ERROR = 0.9  # of l2 and gain, whatever the noise: all zeros have 1
MAX_NOISE = 0.2  # of l2 and gain: more is no noise, and would hide whatever is wrong


@dataclass(frozen=True)
class Measures:
    """How far a value is from its reference, in numbers without units.

    `l2` is |x - r| / |r|, `peak` is max |x - r| over the RMS of r, `gain` is ||x| / |r| - 1|, and
    `angle` is 1 minus the least cosine between rows; rows that are zero in the reference count in
    `zero`, max |x| there over the RMS of all of r.
    """

    l2: float
    peak: float
    gain: float
    angle: float
    zero: float = 0.0

    @property
    def largest(self) -> float:
        """Return the larger of the two errors that are relative to the whole."""
        return max(self.l2, self.gain)

    @property
    def plausible(self) -> bool:
        """Return whether these may be noise; the gain of any error is at most its l2."""
        return self.l2 <= MAX_NOISE and self.gain <= self.l2 * (1 + 1e-6) and self.angle <= 2


@dataclass(frozen=True)
class Tolerance:
    """The largest measures that pass. Values that are not floats must be equal."""

    l2: float = 1e-4
    peak: float = 1e-3
    gain: float = 1e-4
    angle: float = 1e-6
    zero: float = 1e-4

    @classmethod
    def scaled(cls, error: float) -> Tolerance:
        """Return the tolerance for one relative error below 1: cosines fall with its square."""
        return cls(error, 10 * error, error, 100 * error**2, error)

    @classmethod
    def of(cls, floor: Measures) -> Tolerance:
        """Return the tolerance for a noise floor: some times the noise, never less than rounding,

        nor so much that a stage of zeros would pass.
        """
        lowest, highest = asdict(cls(1e-6, 1e-5, 1e-6, 1e-9, 1e-6)), asdict(cls.scaled(MAX_ERROR))
        limits = {}
        for name, noise in asdict(floor).items():
            limits[name] = min(max(FLOOR_FACTOR * noise, lowest[name]), highest[name])
        return cls(**limits)


@dataclass(frozen=True)
class StageVerdict:
    """The result for one stage: `faults` in words, empty if it passed.

    For floats, with the measures and the tolerance; beside a pass under a measured noise, with what
    would have been found.
    """

    faults: tuple[str, ...] = ()
    measures: Measures | None = None
    allowed: Tolerance | None = None
    power: Power | None = None

    @property
    def ok(self) -> bool:
        return not self.faults


def compare(
    actual: Any,
    expected: Any,
    tolerance: Tolerance | None = None,
    dtypes: tuple[str, str] | None = None,
    axes: tuple[Sequence[str], Sequence[str]] | None = None,
    along: int = -1,
) -> StageVerdict:
    """Compare a value with its reference: text and integers exactly, floats within a tolerance.

    `dtypes` are the true ones of both, even if NumPy stores another; `axes` are the names;
    `along` is the axis that a row, such as a frame or an embedding, lies along.
    """
    if isinstance(expected, str) or isinstance(actual, str):
        if isinstance(actual, str) and isinstance(expected, str) and actual == expected:
            return StageVerdict()
        return StageVerdict((_text_difference(actual, expected),))
    actual, expected = np.asarray(actual), np.asarray(expected)
    faults = []
    kinds = dtypes or (actual.dtype.name, expected.dtype.name)
    if kinds[0] != kinds[1]:
        faults.append(f"dtype {kinds[0]}, not {kinds[1]}")
    if actual.shape != expected.shape:
        faults.append(f"shape {list(actual.shape)}, not {list(expected.shape)}")
    if axes and tuple(axes[0]) != tuple(axes[1]):
        faults.append(f"axes {_names(axes[0])}, not {_names(axes[1])}")
    if actual.dtype.kind != expected.dtype.kind and not faults:
        faults.append(f"kept as {actual.dtype.name}, not {expected.dtype.name}")
    if actual.shape != expected.shape or actual.dtype.kind != expected.dtype.kind:
        return StageVerdict(tuple(faults))
    if actual.dtype.kind != "f":
        different = int(np.count_nonzero(actual != expected))
        if different:
            first = np.argwhere(np.atleast_1d(actual) != np.atleast_1d(expected))[0].tolist()
            faults.append(f"{different} of {actual.size} differ, the first at {first}")
        return StageVerdict(tuple(faults))
    if actual.size == 0:
        return StageVerdict((*faults, "empty: nothing was compared"))
    not_finite = int(np.count_nonzero(~(np.isfinite(actual) & np.isfinite(expected))))
    if not_finite:
        return StageVerdict((*faults, f"{not_finite} numbers are not finite"))
    measures = measure(actual, expected, along)
    allowed = tolerance or Tolerance()
    return StageVerdict((*faults, *_over_limit(measures, allowed)), measures, allowed)


def measure(actual: np.ndarray, expected: np.ndarray, along: int = -1) -> Measures:
    """Measure two finite arrays of one shape, whose rows lie along one axis."""
    if np.array_equal(actual, expected):
        return Measures(0.0, 0.0, 0.0, 0.0)
    x, r = rows_along(actual.astype(float), along), rows_along(expected.astype(float), along)
    if not r.any():
        size = float(np.abs(x).max())
        return Measures(size, size, size, 0.0, size)
    # By a power of two, which changes no measure, so that no square is too large or small.
    scale = -int(np.frexp(np.abs(r).max())[1])
    with np.errstate(over="ignore", invalid="ignore"):
        return _measure(np.ldexp(x, scale), np.ldexp(r, scale))


def _measure(x: np.ndarray, r: np.ndarray) -> Measures:
    different = x - r
    norm, rms = np.linalg.norm(r), np.sqrt(np.mean(r * r))
    rows = np.linalg.norm(r, axis=1)
    silent = rows == 0
    dots = np.einsum("ij,ij->i", x, r)[~silent]
    lengths = np.linalg.norm(x, axis=1)[~silent] * rows[~silent]
    cosines = np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths > 0)
    angle = zero = 0.0
    if x.shape[1] > 1:  # one number a row has no direction but its sign, which l2 sees
        angle = float(np.maximum(1 - cosines.min(), 0))
    if silent.any():
        zero = float(np.abs(x[silent]).max() / rms)
    return Measures(
        l2=float(np.linalg.norm(different) / norm),
        peak=float(np.abs(different).max() / rms),
        gain=float(abs(np.linalg.norm(x) / norm - 1)),
        angle=angle,
        zero=zero,
    )


def rows_along(array: np.ndarray, along: int) -> np.ndarray:
    """Return an array as rows [N, D], which lie along one of its axes."""
    array = np.moveaxis(np.atleast_1d(array), along, -1)
    return array.reshape(-1, array.shape[-1])


def _over_limit(measures: Measures, tolerance: Tolerance) -> tuple[str, ...]:
    """List the measures that exceed the tolerance."""
    allowed: Mapping[str, float] = asdict(tolerance)
    collected = []
    for name, found in asdict(measures).items():
        if not found <= allowed[name]:
            collected.append(f"{name} {found:.3g} is over {allowed[name]:.3g}")
    return tuple(collected)


def _text_difference(actual: Any, expected: Any) -> str:
    """Describe how a text differs from another value, for long texts around the difference."""
    at = 0
    if (
        isinstance(actual, str)
        and isinstance(expected, str)
        and max(len(actual), len(expected)) > EXCERPT
    ):
        at = _first_difference(actual, expected)
    text = f"{_excerpt(actual, at)}, not {_excerpt(expected, at)}"
    if at:
        text += f" at character {at + 1}"
    return text


def _first_difference(one: str, other: str) -> int:
    for at, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return at
    return min(len(one), len(other))


def _excerpt(value: Any, at: int) -> str:
    if not isinstance(value, str):
        return f"an array {list(np.asarray(value).shape)}"
    start, end = 0, EXCERPT
    if at:
        start, end = max(at - EXCERPT // 2, 0), at + EXCERPT // 2
    text = value[start:end]
    if start:
        text = f"...{text}"
    if end < len(value):
        text += "..."
    return repr(text)


def _names(axes: Sequence[str]) -> str:
    return " ".join(axes) or "none"
