"""Find the manifest for a folder that has none, by what its config.json says."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from composer.core.errors import ComposerError, Place, Problem
from composer.core.location import Location
from composer.core.suggest import did_you_mean, listed
from composer.formats import Headers
from composer.formats.refusal import show
from composer.manifest import Manifest, read_manifest
from composer.sources.hub import HubFiles
from composer.sources.shipped import shipped

FOLDER = "families"
SOURCE = "repo"  # the source that stands for the folder in every family's manifest


def families() -> Mapping[str, Manifest]:
    """Return the manifest of every family by its name."""
    return _families(shipped("bundles") / FOLDER)


@cache
def _families(folder: Path) -> Mapping[str, Manifest]:
    found = (read_manifest(path) for path in sorted(folder.glob("*.yaml")))
    return {manifest.name: manifest for manifest in found}


def family_of(folder: Location) -> Manifest:
    """Return the family that a folder is of; raise S456 where it is of none that is known.

    Of several that fit, it is the one that states most.
    """
    config = Headers(HubFiles()).config(folder / "config.json")
    fitting = [each for each in families().values() if _fits(each, config)]
    if not fitting:
        raise ComposerError(_unknown(folder, config))
    return max(fitting, key=lambda each: len(each.recognises))


def _fits(family: Manifest, config: Mapping[str, Any]) -> bool:
    stated = family.recognises.items()
    return bool(stated) and all(_value(config, key) in values for key, values in stated)


def _value(config: Mapping[str, Any], path: str) -> Any:
    value: Any = config
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _unknown(folder: Location, config: Mapping[str, Any]) -> Problem:
    kind = str(config.get("model_type"))
    known = [value for each in families().values() for value in each.recognises["model_type"]]
    return Problem(
        "S456",
        f"{folder} has no bundle.yaml, and its model_type {show(kind)} is of no known family",
        Place(str(folder / "config.json")),
        (f"the families are {listed(sorted(families()))}",),
        hint=did_you_mean(kind, known) or "write a manifest: composer new DIR makes one to change",
    )
