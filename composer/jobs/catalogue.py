"""List the bundles that ship, and the systems that are planned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from composer.core.errors import ComposerError
from composer.manifest import read_manifest
from composer.sources import catalogue as claims
from composer.sources.catalogue import Planned
from composer.sources.shipped import shipped_bundles


@dataclass(frozen=True)
class ShippedBundle:
    """A bundle that ships, and what is verified of it: `layout`, `golden`, `miniature`.

    `publishes` are repositories of the Hub that it runs; `make` says how its files are made where
    none are published. Where the manifest cannot be read, `summary` says so.
    """

    name: str
    summary: str
    licence: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    publishes: tuple[str, ...] = ()
    verified: tuple[str, ...] = ()


@dataclass(frozen=True)
class Catalogue:
    """What ships, and what is planned by name, with what is missing."""

    bundles: tuple[ShippedBundle, ...]
    planned: Mapping[str, Planned]


def catalogue() -> Catalogue:
    """Return the bundles that ship, each with what is verified of it, and the planned systems.

    Raise ComposerError where the installation is damaged.
    """
    bundles = [_shipped(name, path) for name, path in shipped_bundles().items()]
    return Catalogue(tuple(bundles), claims.catalogue().planned)


def _shipped(name: str, path: Path) -> ShippedBundle:
    status = claims.catalogue().bundles.get(name)
    verified = tuple(status.verified) if status else ()
    try:
        manifest = read_manifest(path)
    except ComposerError:
        summary = f"cannot be read: composer check {name} tells why"
        return ShippedBundle(name, summary, verified=verified)
    return ShippedBundle(
        name,
        manifest.summary,
        tuple(manifest.licence),
        tuple(manifest.variants),
        tuple(manifest.publishes),
        verified,
    )
