"""Gather what is stated of a bundle's licences."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from composer.manifest import read_manifest
from composer.publishing.licences import LicenceStatement, collect_licences
from composer.sources.lock import read_lock
from composer.sources.resolve import find_bundle


@dataclass(frozen=True)
class Licences:
    """What is stated of a bundle, its parts and its sources, in this order."""

    bundle: str
    stated: tuple[LicenceStatement, ...]


def licences(bundle: str | Path, *, variant: str | None = None) -> Licences:
    """Return what the manifest, its provenance and the cards of its repositories state.

    It is that of the bundle as it stands and of every variant, or of one variant. What a source
    states is None where it states nothing, and `unknown` says why where it could not be asked.

    Raise ComposerError where the bundle or its lock cannot be read.
    """
    found = find_bundle(bundle)
    first = read_manifest(found.path, variant or found.variant)
    manifests = [first]
    if first.variant is None:
        manifests += [read_manifest(found.path, name) for name in first.variants]
    lock = read_lock(found.lock) if found.lock else None
    return Licences(first.name, tuple(collect_licences(found, manifests, lock)))
