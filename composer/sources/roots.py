"""Resolve the sources and weight paths of a manifest to locations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from composer.core.errors import ComposerError, Place, Problem
from composer.core.location import Location
from composer.core.suggest import did_you_mean, listed
from composer.sources.hub import HubId, snapshot_of
from composer.sources.resolve import ResolvedBundle

if TYPE_CHECKING:
    from composer.manifest import Manifest

Roots = Mapping[str, Location]


def resolve_sources(
    manifest: Manifest,
    bundle: ResolvedBundle,
    given: Mapping[str, Path] | None = None,
    commits: Mapping[str, str] | None = None,
) -> tuple[Roots, list[Problem]]:
    """Find each source; its root is None if it is not local and cannot be reached.

    A repository of the Hub gets the folder of its commit in the cache, even before its files are
    downloaded. `given` are folders that replace sources, by name: a mirror, or a new
    conversion. `commits` are those in a lock, by the manifest's text of the source.
    """
    roots: dict[str, Location] = {}
    problems: list[Problem] = []
    checkpoint = bundle.checkpoint
    given = dict(given or {})
    remote: dict[str, HubId] = {}
    files = checkpoint.sources if checkpoint else {}
    for name in files.keys() & manifest.sources.keys():
        assert checkpoint
        if isinstance(checkpoint.folder, Path):
            given.setdefault(name, checkpoint.folder)
        else:
            remote[name] = checkpoint.folder
    for name in set(given) - set(manifest.sources):
        near = did_you_mean(name, manifest.sources)
        problems.append(
            Problem(
                "S475",
                f"a folder is given for '{name}', which is not a source",
                manifest.place("sources"),
                hint=near or f"sources: {listed(manifest.sources)}",
            )
        )
    for name, source in manifest.sources.items():
        if name in given:
            hint = "a folder given by --source is relative to where you are"
            roots[name], found = _folder(manifest, name, Path(given[name]), hint)
        elif source.kind == "hf" or name in remote:
            id = remote.get(name) or HubId(source.value, source.revision)
            roots[name], found = _hub_folder(manifest, bundle, name, id, commits or {})
        else:
            roots[name], found = _local_folder(manifest, bundle, name)
        problems += found
    for name, file in files.items():
        if file and name in roots:
            roots[name] /= file
    return roots, problems


def _hub_folder(
    manifest: Manifest, bundle: ResolvedBundle, name: str, id: HubId, commits: Mapping[str, str]
) -> tuple[Location, list[Problem]]:
    place = manifest.place("sources", name)
    try:
        found = bundle.hub.snapshot(HubId(id.repo, commits.get(str(id), id.revision)))
    except ComposerError as error:
        missing = Location(name, "", None)
        if bundle.hub.offline:
            return missing, [_unreadable_source(manifest, name, place)]
        return missing, [replace(problem, place=place) for problem in error.problems]
    return found.location(name), [replace(note, place=place) for note in found.notes]


def _unreadable_source(manifest: Manifest, name: str, place: Place) -> Problem:
    """Warn that a source's files could not be read."""
    return Problem(
        "S476",
        f"{name} ({manifest.sources[name].value}) is not on this machine",
        place,
        severity="warning",
        hint=f"its files were not read: composer pull fetches them, --source {name}=FOLDER "
        "names a copy",
    )


def _local_folder(
    manifest: Manifest, bundle: ResolvedBundle, name: str
) -> tuple[Location, list[Problem]]:
    """Find a folder beside the manifest: on disk, or in the manifest's own repository."""
    value = manifest.sources[name].value
    folder, place = manifest.folder / value, manifest.place("sources", name)
    missing = Location(name, "", None)
    here = Location(name, value.removeprefix("."), manifest.folder, bundle.repository)
    published = snapshot_of(here)
    if published:
        repository, path = published
        if path.strip("/") in repository.folders:
            return Location(name, "", folder, repository), []
        message = f"the folder of source '{name}' does not exist: {value}"
        hint = f"{repository} holds {listed(repository.folders[''])}"
        return missing, [Problem("S477", message, place, hint=hint)]
    if not folder.resolve().is_relative_to(manifest.folder.resolve()):
        message = f"the folder of source '{name}' is a link that leaves the bundle"
        return missing, [Problem("S478", message, place, hint="copy the files, or use --source")]
    return _folder(manifest, name, folder, "write it relative to the manifest")


def _folder(
    manifest: Manifest, name: str, folder: Path, hint: str
) -> tuple[Location, list[Problem]]:
    if folder.is_dir():
        return Location(name, "", folder), []
    message = f"the folder of source '{name}' does not exist: {folder}"
    problem = Problem("S477", message, manifest.place("sources", name), hint=hint)
    return Location(name, "", None), [problem]


def location_of(path: str, roots: Roots) -> Location:
    """Convert `source/sub/path` to a location."""
    source, _, inside = path.partition("/")
    root = roots.get(source, Location(source, "", None))
    return root / inside if inside else root
