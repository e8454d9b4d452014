"""Everything that a run made, in order, with what made it: a file that later runs are held to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from composer.audio import Audio
from composer.diff.gates import Measures
from composer.errors import ComposerError, Place, Problem
from composer.tensors import pack_values, read_about, read_values

VERSION = 1
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
        stages = {
            name: Stage(
                values[name],
                str(each["dtype"]),
                tuple(map(str, each["axes"])),
                int(each["along"]),
                Measures(**each["floor"]) if each["floor"] else None,
            )
            for name, each in said["stages"].items()
        }
        if left := values.keys() - stages.keys():
            raise ValueError(f"it describes no stage '{min(left)}'")
        return Dump(stages, said["about"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        why = f"no stage {error}" if isinstance(error, KeyError) else error
        message = f"this dump cannot be read: {why}"
        raise ComposerError(Problem("R548", message, Place(str(path)))) from None


def plain(value: Any) -> Any:
    """Return what a stage is compared by: audio by its samples."""
    return value.samples if isinstance(value, Audio) else value


def stage_of(value: Any, dtype: str | None, axes: tuple[str, ...], along: int) -> Stage:
    """Describe a value of a run."""
    if isinstance(value, str):
        return Stage(value, "text")
    if isinstance(value, Audio):
        return Stage(value, "audio", (f"{value.rate} Hz",), 0)
    return Stage(np.asarray(value), dtype or str(np.asarray(value).dtype), axes, along)
