"""Read a profile: where the components of a bundle run on one machine, and in what precision."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    create_model,
)

from composer.checker.backend_choice import ALL
from composer.core import registry
from composer.core.errors import ComposerError, Problem
from composer.core.placement import Placement
from composer.core.suggest import listed
from composer.manifest.fields import OTHER, TEXT, tag_of
from composer.manifest.format import Recipe
from composer.manifest.precision_request import PrecisionRequest, read_precision
from composer.manifest.source import read_document_file
from composer.manifest.validation_faults import validation_faults


def _readable(text: str) -> str:
    read_precision(text)
    return text


PrecisionText = Annotated[str, AfterValidator(_readable)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    @property
    def placement(self) -> Placement:
        return Placement(**{name: getattr(self, name) for name in registry.placement_keys()})


class _Component(_Part):
    backend: str | None = Field(None, description="What runs it where it names a family.")
    precision: (
        Annotated[
            Annotated[PrecisionText, Tag(TEXT)] | Annotated[Recipe, Tag(OTHER)],
            Discriminator(tag_of),
        ]
        | None
    ) = None


class _File(_Part):
    backend: str | None = Field(None, description="What runs every family that it has.")
    memory_gb: float | None = Field(None, gt=0, allow_inf_nan=False)
    components: dict[str, Any] = {}


def _model() -> type[_File]:
    """Return the model of a profile's file, with the placement keys of the backends."""
    keys: dict[str, Any] = {}
    for key in registry.placement_keys().values():
        keys[key.name] = (key.type | None, Field(None, description=key.summary))
    component = create_model("_PlacedComponent", __base__=_Component, **keys)
    parts: Any = (dict[str, component], {})
    return create_model("_PlacedFile", __base__=_File, components=parts, **keys)


@dataclass(frozen=True)
class Profile:
    """Placement for every component that understands it, exceptions by name, and a memory budget.

    `memory` is what weights may take, in bytes.
    """

    default: Placement = field(default_factory=Placement)
    components: dict[str, Placement] = field(default_factory=dict)
    precision: dict[str, PrecisionRequest] = field(default_factory=dict)
    memory: int | None = None
    backends: dict[str, str] = field(default_factory=dict)

    def placement(self, component: str, reads: Collection[str]) -> Placement:
        """Return how a component is placed that reads these keys of a placement."""
        return self.components.get(component, Placement()).over(self.default.only(reads))


def read_profile(path: Path) -> Profile:
    """Read a profile from YAML or JSON; raise ComposerError with every problem."""
    document, model = read_document_file(path), _model()
    try:
        file = model.model_validate(document.data)
    except ValidationError as error:
        findings = validation_faults(error, model)
        raise ComposerError(
            Problem(f.code, f.message, document.place(f.path, f.key), hint=f.hint) for f in findings
        ) from None
    profile = Profile(file.placement)
    for name, part in file.components.items():
        profile.components[name] = part.placement
        asked = _asked(part)
        if asked:
            profile.precision[name] = asked
        if part.backend:
            profile.backends[name] = part.backend
    if file.backend:
        profile.backends[ALL] = file.backend
    if file.memory_gb is None:
        return profile
    return replace(profile, memory=int(file.memory_gb * 1e9))


def _asked(part: _Component) -> PrecisionRequest | None:
    given = part.precision
    return given.quantization() if isinstance(given, Recipe) else given


def read_placement(given: dict[str, Any]) -> Placement:
    """Read a placement from values by key; raise ValueError with what is wrong with the first."""
    keys = registry.placement_keys()
    for name, value in given.items():
        if name not in keys:
            raise ValueError(f"there is no placement key '{name}'; there are: {listed(keys)}")
        try:
            TypeAdapter(keys[name].type).validate_python(value, strict=True)
        except ValidationError as error:
            why = error.errors()[0]["msg"].removeprefix("Input should be ")
            raise ValueError(f"{name} should be {why}, not {value!r}") from None
    return Placement(**given)
