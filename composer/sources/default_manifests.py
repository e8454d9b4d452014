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

FOLDER = "defaults"
SOURCE = "repo"  # the source that stands for the folder in every default manifest


def default_manifests() -> Mapping[str, Manifest]:
    """Return every default manifest by its name."""
    return _manifests(shipped("bundles") / FOLDER)


@cache
def _manifests(folder: Path) -> Mapping[str, Manifest]:
    found = (read_manifest(path) for path in sorted(folder.glob("*.yaml")))
    return {manifest.name: manifest for manifest in found}


def default_manifest(folder: Location) -> Manifest:
    """Return the default manifest of a checkpoint's folder; raise S456 where there is none.

    Of several that fit, it is the one that states most.
    """
    config = Headers(HubFiles()).config(folder / "config.json")
    fitting = [each for each in default_manifests().values() if _fits(each, config)]
    if not fitting:
        raise ComposerError(_unknown(folder, config))
    return max(fitting, key=lambda each: len(each.recognises))


def _fits(manifest: Manifest, config: Mapping[str, Any]) -> bool:
    stated = manifest.recognises.items()
    return bool(stated) and all(_value(config, key) in values for key, values in stated)


def _value(config: Mapping[str, Any], path: str) -> Any:
    value: Any = config
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _unknown(folder: Location, config: Mapping[str, Any]) -> Problem:
    kind = str(config.get("model_type"))
    known: list[Any] = []
    for each in default_manifests().values():
        known += each.recognises["model_type"]
    return Problem(
        "S456",
        f"{folder} has no bundle.yaml, and no default manifest is for its model_type {show(kind)}",
        Place(str(folder / "config.json")),
        (f"the default manifests are {listed(sorted(default_manifests()))}",),
        hint=did_you_mean(kind, known) or "write a manifest: composer new DIR makes one to change",
    )
