"""A dump: every value of a run in order, with its provenance, as a reference for later runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from composer.comparison.gates import Measures
from composer.core.backend import LONG, SHORT, numpy_dtype
from composer.core.errors import ComposerError, Place, Problem
from composer.formats.audio.waveform import Audio
from composer.formats.values import pack_values, read_about, read_values

VERSION = 1
STEPS = "steps"
KEY = "composer.dump"


@dataclass(frozen=True)
class Stage:
    """One named value of a run.

    `dtype` is the true one, even if NumPy stores another; `axes` are named as in the
    port, and `along` is the axis of a row. `floor` is the measured noise.
    """

    value: Any
    dtype: str
    axes: tuple[str, ...] = ()
    along: int = -1
    floor: Measures | None = None


@dataclass(frozen=True)
class Dump:
    """A run's values in execution order, inputs first, and their provenance."""

    stages: Mapping[str, Stage]
    about: Mapping[str, Any] = field(default_factory=dict)

    def pack(self) -> bytes:
        """Return the dump as a safetensors file, which `--feed` reads as well."""
        stages = {
            name: {
                "dtype": stage.dtype,
                "axes": list(stage.axes),
                "along": stage.along,
                "floor": asdict(stage.floor) if stage.floor else None,
            }
            for name, stage in self.stages.items()
        }
        text = json.dumps({"version": VERSION, "about": dict(self.about), "stages": stages})
        return pack_values({name: s.value for name, s in self.stages.items()}, {KEY: text})


class _DumpHeader(BaseModel):
    """A stage's entry in a dump's metadata."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    dtype: str
    axes: list[str]
    along: int
    floor: dict[str, float] | None


def _stage(name: str, value: Any, each: Any) -> Stage:
    """Return a stage as described; raise ValueError if the value contradicts that."""
    try:
        header = _DumpHeader.model_validate(each)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        what = " ".join(map(str, (*first["loc"], first["msg"])))
        raise ValueError(f"'{name}': {what}") from None
    if not all(map(str.isprintable, (name, *header.axes))):
        raise ValueError(f"{name!a} {header.axes!a} are not names")
    rank = getattr(plain(value), "ndim", 0)
    if len(header.axes) not in (0, rank) or not -max(rank, 1) <= header.along < max(rank, 1):
        axes = " ".join(header.axes) or "none"
        raise ValueError(f"'{name}' has {rank} axes, not {axes} with rows along {header.along}")
    if not _has_dtype(value, header.dtype):
        raise ValueError(f"'{name}' is not {header.dtype!a}")
    if isinstance(value, Audio) and header.axes != [f"{value.rate} Hz"]:
        raise ValueError(f"'{name}' has {value.rate} Hz, not {' '.join(header.axes) or 'any'}")
    if header.floor and min(header.floor.values()) < 0:
        raise ValueError(f"'{name}' has a noise below 0")
    floor = Measures(**header.floor) if header.floor else None
    return Stage(value, header.dtype, tuple(header.axes), header.along, floor)


def _has_dtype(value: Any, dtype: str) -> bool:
    if isinstance(value, str):
        return dtype == "text"
    if isinstance(value, Audio):
        return dtype == "audio"
    return dtype in LONG and bool(value.dtype == numpy_dtype(dtype))


def read_dump(path: Path) -> Dump:
    """Read a dump; raise ComposerError unless the file is a complete one."""
    values, text = read_values(path), read_about(path, KEY)
    if text is None:
        hint = "write one with composer tap"
        raise ComposerError(Problem("R548", "this file is not a dump", Place(str(path)), hint=hint))
    try:
        header = json.loads(text)
        if header["version"] != VERSION:
            raise ValueError(
                f"its version is {header['version']}, but this version of composer reads {VERSION}"
            )
        stages = {name: _stage(name, values[name], each) for name, each in header["stages"].items()}
        if extra := values.keys() - stages.keys():
            raise ValueError(f"it describes no stage '{min(extra)}'")
        if not stages or not isinstance(header["about"], dict):
            raise ValueError("it has no stages, or no description of them")
        for name, stored in header["about"].get("digests", {}).items():
            if name in stages and stored != digest(stages[name].value):
                raise ValueError(f"'{name}' does not match its digest")
        return Dump(stages, header["about"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        why = f"no stage {error}" if isinstance(error, KeyError) else error
        message = f"this dump cannot be read: {why}"
        raise ComposerError(Problem("R548", message, Place(str(path)))) from None


def read_feed(path: Path) -> dict[str, Any]:
    """Return the values of a file that a graph can take: for a dump, all but the replayed steps."""
    values, text = read_values(path), read_about(path, KEY)
    return {n: v for n, v in values.items() if text is None or not n.endswith(f"_{STEPS}")}


def digest(value: Any) -> str:
    """Return the SHA-256 of an array's or a clip's numbers."""
    return f"sha256:{hashlib.sha256(plain(value).tobytes()).hexdigest()}"


def plain(value: Any) -> Any:
    """Return the array to compare: for audio, its samples."""
    return value.samples if isinstance(value, Audio) else value


def stage_of(value: Any, dtype: str | None, axes: tuple[str, ...], along: int) -> Stage:
    """Describe a value of a run."""
    if isinstance(value, str):
        return Stage(value, "text")
    if isinstance(value, Audio):
        return Stage(value, "audio", (f"{value.rate} Hz",), 0)
    array = np.asarray(value)
    return Stage(array, dtype or SHORT[array.dtype.name], axes, along)
