"""Make a bundle's lock from its files and from the Hub's listings."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from composer.checker import check_variant, recheck
from composer.checker.lock_differences import source_text
from composer.checker.lock_entries import variant_entry
from composer.core.location import Location
from composer.graph.checked import Checked
from composer.graph.files import component_files, required_files
from composer.manifest import Manifest
from composer.manifest.entries import Origin
from composer.manifest.format import VERSION as FORMAT
from composer.runtime.loading import require_local_files
from composer.sources.hub import Snapshot, download_files, snapshot_of
from composer.sources.hub.card import card_of
from composer.sources.lock.digests import hub_entry_of, rehash, size_of
from composer.sources.lock.entries import BundleLock, FileEntry, Licences, LockFile, SourceEntry
from composer.sources.resolve import ResolvedBundle

Editions = Mapping[str | None, Checked]


def make_lock(bundle: ResolvedBundle, sources: Mapping[str, Path] | None = None) -> BundleLock:
    """Check a bundle without and in each variant, and return its lock.

    Small files on the Hub are fetched; for the others the listing's digests are used.
    Raise ComposerError if a variant is refused or a file is unreachable.
    """
    return lock_of(check_all(bundle, sources))


def check_all(bundle: ResolvedBundle, sources: Mapping[str, Path] | None = None) -> Editions:
    """Return a bundle without a variant, under None, and in each, with its small files local."""
    bare = replace(bundle, variant=None, lock=None)
    first = check_variant(bare, None, sources=sources).raise_if_refused()
    checked: dict[str | None, Checked] = {None: first}
    for name in first.manifest.variants:
        checked[name] = check_variant(bare, name, sources=sources).raise_if_refused()
    for key, each in checked.items():
        require_local_files(each, each.components)
        small = [need for need in required_files(each) if need.file.algorithm == "git"]
        if download_files(small).files:  # headers that were read remotely are not trusted
            checked[key] = recheck(each).raise_if_refused()
    return checked


def lock_of(checked: Editions) -> BundleLock:
    """Return the lock of a bundle's editions."""
    entries: dict[str, dict[str, FileEntry]] = {}
    places: dict[str, Snapshot] = {}
    for each in checked.values():
        for known in each.components.values():
            for location in component_files(known):
                source = each.manifest.sources[location.source]
                text = source_text(source)
                entries.setdefault(text, {})[location.inside] = _file(location)
                place = snapshot_of(location)
                if place:
                    places[text] = place[0]
    sources = {text: _source(places.get(text), files) for text, files in entries.items()}
    editions = {key: variant_entry(each) for key, each in checked.items()}
    manifest = checked[None].manifest
    data = manifest.path.read_bytes()
    model = LockFile(
        lock=1,
        composer=version("bundle-composer"),
        format=FORMAT,
        bundle=manifest.name,
        manifest=FileEntry(size=len(data), sha256=hashlib.sha256(data).hexdigest()),
        licences=_licences(manifest),
        sources=sources,
        edition=editions.pop(None),
        variants={str(name): entry for name, entry in editions.items()},
    )
    return BundleLock(lock_path(manifest.path), model)


def lock_path(manifest: Path) -> Path:
    """Return the path of a manifest's lock."""
    return manifest.with_suffix(".lock")


def _licences(manifest: Manifest) -> Licences:
    """Return what a manifest states."""
    return Licences(stated=list(manifest.licence), parts=list(map(_part, manifest.provenance)))


def _source(place: Snapshot | None, files: dict[str, FileEntry]) -> SourceEntry:
    """Return a source's files; of a repository also its commit and what its card states."""
    if place is None:
        return SourceEntry(repo=None, commit=None, licence={}, files=files)
    stated = dict(card_of(place).stated)
    return SourceEntry(repo=place.repo, commit=place.commit, licence=stated, files=files)


def _part(origin: Origin) -> dict[str, str]:
    names = {"what": origin.what, "from": origin.from_, "how": origin.how}
    names["licence"] = origin.licence
    return {key: text for key, text in names.items() if text}


def _file(location: Location) -> FileEntry:
    listed = hub_entry_of(location)
    if listed and listed.algorithm == "sha256":
        return FileEntry(size=listed.size, sha256=listed.digest)
    assert location.path
    return FileEntry(size=size_of(location), sha256=rehash(location.path))
