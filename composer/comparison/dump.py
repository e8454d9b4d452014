"""A dump: every value of a run in order, with its provenance, as a reference for later runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from composer.comparison.gates import Measures
from composer.core.backend import LONG, SHORT, numpy_dtype
from composer.core.errors import ComposerError, Place, Problem
from composer.core.validation import first_error
from composer.formats.audio.waveform import Audio
from composer.formats.value_file import pack_values, read_metadata, read_value_file

VERSION = 1
STEPS = "steps"
KEY = "composer.dump"
FLOOR, ALONE = "floor", "alone"


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
    """A run's values in execution order, inputs first, and their provenance.

    `floor` is what the run that measures the noise gave, by stage, and `alone` what each of its
    nodes gives for the values of this run. `further` are the dumps of further clips.
    """

    stages: Mapping[str, Stage]
    about: Mapping[str, Any] = field(default_factory=dict)
    floor: Mapping[str, Any] = field(default_factory=dict)
    alone: Mapping[str, Any] = field(default_factory=dict)
    further: tuple[Dump, ...] = ()

    @property
    def clips(self) -> tuple[Dump, ...]:
        """Return the dump of each clip."""
        return (replace(self, further=()), *self.further)

    @property
    def name(self) -> str:
        """Return the name of the clip, if it has one."""
        return str(self.about.get("clip", ""))

    def pack(self) -> bytes:
        """Return the dump as a safetensors file, which `--feed` reads as well."""
        values: dict[str, Any] = {}
        clips = []
        for at, clip in enumerate(self.clips):
            stages = {}
            for name, stage in clip.stages.items():
                values[_key(at, "", name)] = stage.value
                stages[name] = _describe(stage)
            for part, noise in ((FLOOR, clip.floor), (ALONE, clip.alone)):
                for name, value in noise.items():
                    values[_key(at, part, name)] = value
            parts = {FLOOR: list(clip.floor), ALONE: list(clip.alone)}
            clips.append({"about": dict(clip.about), "stages": stages, **parts})
        header = {"version": VERSION, **clips[0], "further": clips[1:]}
        return pack_values(values, {KEY: json.dumps(header)})


def _describe(stage: Stage) -> dict[str, Any]:
    """Return what the file says of a stage beside its value, as `_DumpHeader` reads it."""
    return {
        "dtype": stage.dtype,
        "axes": list(stage.axes),
        "along": stage.along,
        "floor": stage.floor and asdict(stage.floor),
    }


def _key(clip: int, part: str, name: str) -> str:
    """Return a value's name in the file: that of the first clip's stages is their own."""
    prefix = f"clip{clip + 1}" if clip else ""
    return "/".join(filter(None, (prefix, part, name)))


def joined(dumps: list[Dump]) -> Dump:
    """Return the dumps of several clips as one."""
    return replace(dumps[0], further=tuple(dumps[1:]))


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
        raise ValueError(f"'{name}': {first_error(error)}") from None
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
    if floor and not floor.plausible:
        raise ValueError(f"the noise of '{name}' is {floor.largest:.2g} of its values")
    return Stage(value, header.dtype, tuple(header.axes), header.along, floor)


def _has_dtype(value: Any, dtype: str) -> bool:
    if isinstance(value, str):
        return dtype == "text"
    if isinstance(value, Audio):
        return dtype == "audio"
    return dtype in LONG and bool(value.dtype == numpy_dtype(dtype))


def read_dump(path: Path) -> Dump:
    """Read a dump; raise ComposerError unless the file is a complete one."""
    values, text = read_value_file(path), read_metadata(path, KEY)
    if text is None:
        hint = "write one with composer tap"
        raise ComposerError(Problem("R548", "this file is not a dump", Place(str(path)), hint=hint))
    try:
        header = json.loads(text)
        if header["version"] != VERSION:
            raise ValueError(
                f"its version is {header['version']}, but this version of composer reads {VERSION}"
            )
        taken: set[str] = set()
        headers = [header, *header.get("further", ())]
        clips = [_clip(at, each, values, taken) for at, each in enumerate(headers)]
        if extra := values.keys() - taken:
            raise ValueError(f"it describes no stage '{min(extra)}'")
        for clip in clips:
            _check_clip(clip)
        return joined(clips)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        why = str(error)
        if isinstance(error, KeyError):
            why = f"no stage {error}"
        message = f"this dump cannot be read: {why}"
        raise ComposerError(Problem("R548", message, Place(str(path)))) from None


def _clip(at: int, header: Any, values: Mapping[str, Any], taken: set[str]) -> Dump:
    """Return a clip's dump, and add the names of its values to those that were taken."""

    def value(part: str, name: str) -> Any:
        key = _key(at, part, name)
        taken.add(key)
        return values[key]

    stages = {name: _stage(name, value("", name), each) for name, each in header["stages"].items()}
    floor = {name: value(FLOOR, name) for name in header.get(FLOOR, ())}
    alone = {name: value(ALONE, name) for name in header.get(ALONE, ())}
    return Dump(stages, header["about"], floor, alone)


def _check_clip(clip: Dump) -> None:
    """Raise ValueError for a clip without stages or whose inputs are others than it says."""
    if not clip.stages or not isinstance(clip.about, dict):
        raise ValueError("it has no stages, or no description of them")
    for name, stored in clip.about.get("digests", {}).items():
        if name in clip.stages and stored != digest(clip.stages[name].value):
            raise ValueError(f"'{name}' does not match its digest")
    for name in (*clip.floor, *clip.alone):
        if name not in clip.stages:
            raise ValueError(f"the noise of '{name}' is of no stage")


def read_feed(path: Path) -> dict[str, Any]:
    """Return the values of a file that a graph can take.

    Of a dump these are its stages without the replayed steps. Raise R548 for several clips.
    """
    if read_metadata(path, KEY) is None:
        return read_value_file(path)
    dump = read_dump(path)
    if dump.further:
        message = f"this dump has {len(dump.clips)} clips, and a run takes one"
        raise ComposerError(Problem("R548", message, Place(str(path))))
    return {n: each.value for n, each in dump.stages.items() if not n.endswith(f"_{STEPS}")}


def digest(value: Any) -> str:
    """Return the SHA-256 of an array's or a clip's numbers."""
    return f"sha256:{hashlib.sha256(plain(value).tobytes()).hexdigest()}"


def plain(value: Any) -> Any:
    """Return the array to compare: for audio, its samples."""
    if isinstance(value, Audio):
        return value.samples
    return value


def stage_of(value: Any, dtype: str | None, axes: tuple[str, ...], along: int) -> Stage:
    """Describe a value of a run."""
    if isinstance(value, str):
        return Stage(value, "text")
    if isinstance(value, Audio):
        return Stage(value, "audio", (f"{value.rate} Hz",), 0)
    array = np.asarray(value)
    return Stage(array, dtype or SHORT[array.dtype.name], axes, along)
