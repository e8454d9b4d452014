"""Everything that a run made, in order, with what made it: a file that later runs are held to."""

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
from composer.formats.audio import Audio
from composer.formats.values import pack_values, read_about, read_values

VERSION = 1
STEPS = "steps"
KEY = "composer.dump"


@dataclass(frozen=True)
class Stage:
    """One named value of a run.

    `dtype` is the true one, where NumPy had to stand in for it; `axes` are named as the port names
    them, and `along` is the one that a row lies along. `floor` is the noise that was measured.
    """

    value: Any
    dtype: str
    axes: tuple[str, ...] = ()
    along: int = -1
    floor: Measures | None = None


@dataclass(frozen=True)
class Dump:
    """A run's values in the order they were made, its inputs first, and what made them."""

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
    """What a file says of a stage."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    dtype: str
    axes: list[str]
    along: int
    floor: dict[str, float] | None


def _stage(name: str, value: Any, each: Any) -> Stage:
    """Return a stage as it is described; raise ValueError unless the value is so."""
    try:
        said = _DumpHeader.model_validate(each)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        what = " ".join(map(str, (*first["loc"], first["msg"])))
        raise ValueError(f"'{name}': {what}") from None
    if not all(map(str.isprintable, (name, *said.axes))):
        raise ValueError(f"{name!a} {said.axes!a} are no names")
    rank = getattr(plain(value), "ndim", 0)
    if len(said.axes) not in (0, rank) or not -max(rank, 1) <= said.along < max(rank, 1):
        axes = " ".join(said.axes) or "none"
        raise ValueError(f"'{name}' has {rank} axes, not {axes} with rows along {said.along}")
    if not _is(value, said.dtype):
        raise ValueError(f"'{name}' is no {said.dtype!a}")
    if isinstance(value, Audio) and said.axes != [f"{value.rate} Hz"]:
        raise ValueError(f"'{name}' has {value.rate} Hz, not {' '.join(said.axes) or 'any'}")
    if said.floor and min(said.floor.values()) < 0:
        raise ValueError(f"'{name}' has a noise below 0")
    floor = Measures(**said.floor) if said.floor else None
    return Stage(value, said.dtype, tuple(said.axes), said.along, floor)


def _is(value: Any, dtype: str) -> bool:
    if isinstance(value, str):
        return dtype == "text"
    if isinstance(value, Audio):
        return dtype == "audio"
    return dtype in LONG and bool(value.dtype == numpy_dtype(dtype))


def read_dump(path: Path) -> Dump:
    """Read a dump; raise ComposerError unless the file is one, whole."""
    values, text = read_values(path), read_about(path, KEY)
    if text is None:
        hint = "write one with composer tap"
        raise ComposerError(Problem("R548", "this file is no dump", Place(str(path)), hint=hint))
    try:
        said = json.loads(text)
        if said["version"] != VERSION:
            raise ValueError(f"its version is {said['version']}, and this composer reads {VERSION}")
        stages = {name: _stage(name, values[name], each) for name, each in said["stages"].items()}
        if left := values.keys() - stages.keys():
            raise ValueError(f"it describes no stage '{min(left)}'")
        if not stages or not isinstance(said["about"], dict):
            raise ValueError("it has no stages, or says nothing about them")
        for name, told in said["about"].get("digests", {}).items():
            if name in stages and told != digest(stages[name].value):
                raise ValueError(f"'{name}' is not what its digest says")
        return Dump(stages, said["about"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        why = f"no stage {error}" if isinstance(error, KeyError) else error
        message = f"this dump cannot be read: {why}"
        raise ComposerError(Problem("R548", message, Place(str(path)))) from None


def read_feed(path: Path) -> dict[str, Any]:
    """Return the values of a file that a graph can take: of a dump all but the replayed steps."""
    values, text = read_values(path), read_about(path, KEY)
    return {n: v for n, v in values.items() if text is None or not n.endswith(f"_{STEPS}")}


def digest(value: Any) -> str:
    """Return the SHA-256 of an array's or a clip's numbers."""
    return f"sha256:{hashlib.sha256(plain(value).tobytes()).hexdigest()}"


def plain(value: Any) -> Any:
    """Return what a stage is compared by: audio by its samples."""
    return value.samples if isinstance(value, Audio) else value


def stage_of(value: Any, dtype: str | None, axes: tuple[str, ...], along: int) -> Stage:
    """Describe a value of a run."""
    if isinstance(value, str):
        return Stage(value, "text")
    if isinstance(value, Audio):
        return Stage(value, "audio", (f"{value.rate} Hz",), 0)
    array = np.asarray(value)
    return Stage(array, dtype or SHORT[array.dtype.name], axes, along)
