"""Read a profile: where the components of a bundle run on one machine, and in what precision."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from composer.checker.choice import ALL
from composer.core.errors import ComposerError, Problem
from composer.core.placement import Placement
from composer.manifest.refusal import refusals
from composer.manifest.source import read

Threads = Field(None, ge=1, le=1024, description="Threads inside one operation.")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    threads: int | None = Threads
    providers: list[str] | None = Field(
        None, min_length=1, description="ONNX Runtime's execution providers, best first."
    )
    device: Literal["cpu", "gpu"] | None = Field(None, description="Where MLX computes.")
    tables: Literal["mapped", "loaded"] | None = Field(
        None,
        description="Whether rows of large tables stay in their files or are held.",
    )


class _Component(_Part):
    backend: str | None = Field(None, description="What runs it where it names a family.")
    precision: Literal["float32", "float16", "bfloat16"] | None = None


class _File(_Part):
    backend: str | None = Field(None, description="What runs every family that it has.")
    memory_gb: float | None = Field(None, gt=0, allow_inf_nan=False)
    components: dict[str, _Component] = {}


@dataclass(frozen=True)
class Profile:
    """Placement for every component that understands it, exceptions by name, and a memory budget.

    `memory` is what weights may take, in bytes.
    """

    default: Placement = field(default_factory=Placement)
    components: dict[str, Placement] = field(default_factory=dict)
    precision: dict[str, str] = field(default_factory=dict)
    memory: int | None = None
    backends: dict[str, str] = field(default_factory=dict)

    def placement(self, component: str, reads: Collection[str]) -> Placement:
        """Return how a component is placed that reads these keys of a placement."""
        return self.components.get(component, Placement()).over(self.default.only(reads))


def read_profile(path: Path) -> Profile:
    """Read a profile from YAML or JSON; raise ComposerError with every problem."""
    document = read(path)
    try:
        file = _File.model_validate(document.data)
    except ValidationError as error:
        findings = refusals(error, _File)
        raise ComposerError(
            Problem(f.code, f.message, document.place(f.path, f.key), hint=f.hint) for f in findings
        ) from None
    parts = {name: part.backend for name, part in file.components.items()}
    parts[ALL] = file.backend
    return Profile(
        _placement(file),
        {name: _placement(part) for name, part in file.components.items()},
        {name: part.precision for name, part in file.components.items() if part.precision},
        None if file.memory_gb is None else int(file.memory_gb * 1e9),
        {name: backend for name, backend in parts.items() if backend},
    )


def _placement(part: _Part) -> Placement:
    providers = tuple(part.providers) if part.providers else None
    return Placement(providers, part.threads, part.device, part.tables)
