"""Compare two values by several gates, any of which a wrong stage may fail and must not pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

FLOOR_FACTOR = 4.0  # how far beyond the measured noise a stage may be
MOST = 0.9  # of l2 and gain, whatever the noise: all zeros have 1


@dataclass(frozen=True)
class Measures:
    """How far a value is from its reference, in numbers that need no unit.

    `l2` is |x - r| / |r|, `peak` is max |x - r| over the RMS of r, `gain` is ||x| / |r| - 1|, and
    `angle` is 1 minus the least cosine between rows; rows that are zero in the reference count in
    `zero`, max |x| there over the RMS of all of r.
    """

    l2: float
    peak: float
    gain: float
    angle: float
    zero: float = 0.0


@dataclass(frozen=True)
class Tolerance:
    """The largest measures that pass. What is not float must be equal."""

    l2: float = 1e-4
    peak: float = 1e-3
    gain: float = 1e-4
    angle: float = 1e-6
    zero: float = 1e-4

    @classmethod
    def scaled(cls, error: float) -> Tolerance:
        """Return what one relative error below 1 allows: cosines fall with its square."""
        return cls(error, 10 * error, error, 100 * error**2, error)

    @classmethod
    def of(cls, floor: Measures) -> Tolerance:
        """Return what a noise floor allows: some times the noise, and never less than rounding.

        Nor so much that a stage of zeros would pass.
        """
        least, most = asdict(cls(1e-6, 1e-5, 1e-6, 1e-9, 1e-6)), asdict(cls.scaled(MOST))
        noises = asdict(floor).items()
        return cls(
            **{
                name: min(max(FLOOR_FACTOR * noise, least[name]), most[name])
                for name, noise in noises
            }
        )


@dataclass(frozen=True)
class Verdict:
    """What the gates say of one stage: `faults` in words, none where it passed.

    Of floats there are the measures, and what was allowed of each.
    """

    faults: tuple[str, ...] = ()
    measures: Measures | None = None
    allowed: Tolerance | None = None

    @property
    def ok(self) -> bool:
        return not self.faults


def compare(
    have: Any,
    want: Any,
    tolerance: Tolerance | None = None,
    dtypes: tuple[str, str] | None = None,
    axes: tuple[Sequence[str], Sequence[str]] | None = None,
    along: int = -1,
) -> Verdict:
    """Hold a value against its reference: text and integers exactly, floats within a tolerance.

    `dtypes` are the true ones of both, where NumPy had to stand in for another; `axes` the names;
    `along` is the axis that a row, such as a frame or an embedding, lies along.
    """
    if isinstance(want, str) or isinstance(have, str):
        same = isinstance(have, str) and isinstance(want, str) and have == want
        return Verdict(() if same else (_parted(have, want),))
    have, want = np.asarray(have), np.asarray(want)
    faults = []
    kinds = dtypes or (have.dtype.name, want.dtype.name)
    if kinds[0] != kinds[1]:
        faults.append(f"dtype {kinds[0]}, not {kinds[1]}")
    if have.shape != want.shape:
        faults.append(f"shape {list(have.shape)}, not {list(want.shape)}")
    if axes and tuple(axes[0]) != tuple(axes[1]):
        faults.append(f"axes {_names(axes[0])}, not {_names(axes[1])}")
    if have.dtype.kind != want.dtype.kind and not faults:
        faults.append(f"kept as {have.dtype.name}, not {want.dtype.name}")
    if have.shape != want.shape or have.dtype.kind != want.dtype.kind:
        return Verdict(tuple(faults))
    if have.dtype.kind != "f":
        apart = int(np.count_nonzero(have != want))
        if apart:
            first = np.argwhere(np.atleast_1d(have) != np.atleast_1d(want))[0].tolist()
            faults.append(f"{apart} of {have.size} differ, the first at {first}")
        return Verdict(tuple(faults))
    if have.size == 0:
        return Verdict((*faults, "empty: nothing was compared"))
    odd = int(np.count_nonzero(~(np.isfinite(have) & np.isfinite(want))))
    if odd:
        return Verdict((*faults, f"{odd} numbers are not finite"))
    measures = measure(have, want, along)
    allowed = tolerance or Tolerance()
    return Verdict((*faults, *beyond(measures, allowed)), measures, allowed)


def measure(have: np.ndarray, want: np.ndarray, along: int = -1) -> Measures:
    """Measure two finite arrays of one shape, whose rows lie along one axis."""
    if np.array_equal(have, want):
        return Measures(0.0, 0.0, 0.0, 0.0)
    x, r = (_rows(each.astype(np.float64), along) for each in (have, want))
    if not r.any():
        size = float(np.abs(x).max())
        return Measures(size, size, size, 0.0, size)
    # By a power of two, which changes no measure, so that no square is too large or small.
    scale = -int(np.frexp(np.abs(r).max())[1])
    with np.errstate(over="ignore", invalid="ignore"):
        return _measure(np.ldexp(x, scale), np.ldexp(r, scale))


def _measure(x: np.ndarray, r: np.ndarray) -> Measures:
    apart = x - r
    norm, rms = np.linalg.norm(r), np.sqrt(np.mean(r * r))
    rows = np.linalg.norm(r, axis=1)
    silent = rows == 0
    dots = np.einsum("ij,ij->i", x, r)[~silent]
    lengths = np.linalg.norm(x, axis=1)[~silent] * rows[~silent]
    cosines = np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths > 0)
    return Measures(
        l2=float(np.linalg.norm(apart) / norm),
        peak=float(np.abs(apart).max() / rms),
        gain=float(abs(np.linalg.norm(x) / norm - 1)),
        # One number a row has no direction but its sign, which l2 sees.
        angle=float(np.maximum(1 - cosines.min(), 0)) if x.shape[1] > 1 else 0.0,
        zero=float(np.abs(x[silent]).max() / rms) if silent.any() else 0.0,
    )


def _rows(array: np.ndarray, along: int) -> np.ndarray:
    array = np.moveaxis(np.atleast_1d(array), along, -1)
    return array.reshape(-1, array.shape[-1])


def beyond(measures: Measures, tolerance: Tolerance) -> tuple[str, ...]:
    """Say which measures are over what is tolerated."""
    allowed: Mapping[str, float] = asdict(tolerance)
    return tuple(
        f"{name} {found:.3g} is over {allowed[name]:.3g}"
        for name, found in asdict(measures).items()
        if not found <= allowed[name]
    )


def _parted(have: Any, want: Any) -> str:
    """Say how two values differ of which one is a text; of long texts only where they part."""
    at = 0
    if isinstance(have, str) and isinstance(want, str) and max(len(have), len(want)) > 40:
        pairs = enumerate(zip(have, want, strict=False))
        short = min(len(have), len(want))
        at = next((place for place, (one, two) in pairs if one != two), short)
    said = f"{_said(have, at)}, not {_said(want, at)}"
    return f"{said} at character {at + 1}" if at else said


def _said(value: Any, at: int) -> str:
    if not isinstance(value, str):
        return f"an array {list(np.asarray(value).shape)}"
    start, end = max(at - 20, 0), at + 20 if at else 40
    before, after = "..." if start else "", "..." if end < len(value) else ""
    return repr(f"{before}{value[start:end]}{after}")


def _names(axes: Sequence[str]) -> str:
    return " ".join(axes) or "none"
