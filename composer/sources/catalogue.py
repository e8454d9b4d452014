"""Read which shipped bundles are verified, and which systems are planned."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Literal

from pydantic import BaseModel, ConfigDict

from composer.core.errors import ComposerError, Problem
from composer.manifest.source import read_document_file
from composer.sources.shipped import CATALOGUE, shipped_folder

Claim = Literal["layout", "golden", "miniature"]


class Strict(BaseModel):
    """Refuse unknown keys, and convert no types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Status(Strict):
    """What is verified of a bundle, and what its headers state, for when they are not here.

    `bytes` are those of its files, as far as their layout is known, `memory` those that its weights
    take on a backend, and `backends` those that a component gets where its family has a better one.
    `unsettled` is what no public source says of its files.
    """

    verified: list[Claim]
    bytes: int | None = None
    memory: dict[str, int] = {}
    backends: dict[str, str] = {}
    unsettled: str | None = None


class Covered(Strict):
    """What is verified of a default manifest, published checkpoints that it is for, by their IDs,
    and what their headers cannot settle.
    """

    verified: list[Claim]
    ids: list[str]
    unsettled: str | None = None


class PlannedSystem(Strict):
    """A system that cannot run yet: what is missing, and what to run instead."""

    summary: str
    missing: list[str]
    instead: str | None = None
    publishes: list[str] = []


class Catalogue(Strict):
    """All entries by name."""

    bundles: dict[str, Status]
    families: dict[str, Covered]
    planned: dict[str, PlannedSystem]


@cache
def catalogue() -> Catalogue:
    """Read the shipped catalogue."""
    return Catalogue.model_validate(read_document_file(shipped_folder("bundles") / CATALOGUE).data)


def require_runnable(name: str) -> None:
    """Raise S467 for the name, or the repository, of a system that is planned."""
    planned = _planned().get(name.removeprefix("hf:").partition("@")[0].lower())
    if planned:
        key, entry = planned
        message = f"'{key}' is planned and does not run yet: {entry.summary}"
        causes = tuple(f"missing: {part}" for part in entry.missing)
        hint = "composer list shows what runs"
        if entry.instead:
            hint = f"run instead: {entry.instead}"
        raise ComposerError(Problem("S467", message, causes=causes, hint=hint))


@cache
def _planned() -> Mapping[str, tuple[str, PlannedSystem]]:
    found = {}
    for name, entry in catalogue().planned.items():
        for key in (name, *entry.publishes):
            found[key.lower()] = (name, entry)
    return found
