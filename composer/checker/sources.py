"""Turn the sources and weight paths of a manifest into locations on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from composer.errors import Problem
from composer.location import Location
from composer.suggest import did_you_mean, listed

if TYPE_CHECKING:
    from composer.manifest import Manifest

Roots = Mapping[str, Path | None]


def resolve_sources(
    manifest: Manifest, given: Mapping[str, Path] | None = None
) -> tuple[Roots, list[Problem]]:
    """Find each source's folder; None for one that is not on this machine.

    `given` are folders that stand in for sources, by name: a mirror, or a fresh conversion.
    """
    roots: dict[str, Path | None] = {}
    problems: list[Problem] = []
    for name in set(given or {}) - set(manifest.sources):
        near = did_you_mean(name, manifest.sources)
        problems.append(
            Problem(
                "S475",
                f"there is no source '{name}' to stand in for",
                manifest.place("sources"),
                hint=near or f"sources: {listed(manifest.sources)}",
            )
        )
    for name, source in manifest.sources.items():
        place = manifest.place("sources", name)
        if given and name in given:
            folder = Path(given[name])
        elif source.kind == "folder":
            folder = manifest.folder / source.value
            home = manifest.folder.resolve()
            if not folder.resolve().is_relative_to(home):
                message = f"the folder of source '{name}' is a link that leaves the bundle"
                problems.append(
                    Problem("S478", message, place, hint="copy the files, or use --source")
                )
                roots[name] = None
                continue
        else:
            roots[name] = None
            problems.append(
                Problem(
                    "S476",
                    f"{name} ({source.value}) is not on this machine",
                    place,
                    severity="warning",
                    hint=f"its files were not read: hf download {source.value} --local-dir FOLDER, "
                    f"and then --source {name}=FOLDER",
                )
            )
            continue
        roots[name] = folder
        if not folder.is_dir():
            problems.append(
                Problem(
                    "S477",
                    f"the folder of source '{name}' does not exist: {folder}",
                    place,
                    hint="a folder given by --source is relative to where you are"
                    if given and name in given
                    else "write it relative to the manifest",
                )
            )
            roots[name] = None
    return roots, problems


def locate(path: str, roots: Roots) -> Location:
    """Name `source/sub/path` as a location."""
    source, _, inside = path.partition("/")
    return Location(source, inside, roots.get(source))
