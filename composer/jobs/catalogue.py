"""List the bundles that ship, the checkpoints that need none, and the systems that are planned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from composer.core.errors import ComposerError
from composer.jobs.next_command import abilities
from composer.jobs.on_this_machine import on_this_machine
from composer.manifest import Manifest, read_manifest
from composer.sources import catalogue as claims
from composer.sources.catalogue import PlannedSystem, Status
from composer.sources.default_manifests import default_manifests
from composer.sources.shipped import shipped_bundles


@dataclass(frozen=True)
class ShippedBundle:
    """A bundle that ships, and what is verified of it: `layout`, `golden`, `miniature`.

    `publishes` are repositories of the Hub that it runs, `does` the names of its tasks, or of the
    command for its only one; `nbytes`, `here` and `slow` are as in `OnThisMachine`. `unsettled`
    is what no public source says of its files. Where the manifest cannot be read, `summary` says
    so.
    """

    name: str
    summary: str
    licence: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    publishes: tuple[str, ...] = ()
    verified: tuple[str, ...] = ()
    does: tuple[str, ...] = ()
    nbytes: int | None = None
    here: bool = False
    slow: str | None = None
    unsettled: str | None = None


@dataclass(frozen=True)
class Family:
    """A kind of checkpoint that runs without a manifest of its own.

    `recognises` are keys of its config.json, or of a GGUF file's metadata, with their values;
    `tasks` are what it does, `ids` published checkpoints of it, and `unsettled` is what these
    leave open.
    """

    name: str
    summary: str
    recognises: Mapping[str, Sequence[str]]
    tasks: tuple[str, ...]
    ids: tuple[str, ...]
    verified: tuple[str, ...]
    unsettled: str | None


@dataclass(frozen=True)
class Catalogue:
    """What ships, which checkpoints need no manifest, and what is planned by name."""

    bundles: tuple[ShippedBundle, ...]
    families: tuple[Family, ...]
    planned: Mapping[str, PlannedSystem]


def catalogue() -> Catalogue:
    """Return the bundles that ship, the families of checkpoints, and the planned systems.

    Raise ComposerError where the installation is damaged.
    """
    bundles = [_shipped(name, path) for name, path in shipped_bundles().items()]
    families = [_family(manifest) for manifest in default_manifests().values()]
    return Catalogue(tuple(bundles), tuple(families), claims.catalogue().planned)


def _family(manifest: Manifest) -> Family:
    covered = claims.catalogue().families[manifest.name]
    return Family(
        manifest.name,
        manifest.summary,
        manifest.recognises,
        tuple(manifest.tasks),
        tuple(covered.ids),
        tuple(covered.verified),
        covered.unsettled,
    )


def _shipped(name: str, path: Path) -> ShippedBundle:
    status = claims.catalogue().bundles.get(name, Status(verified=[]))
    verified = tuple(status.verified)
    try:
        manifest = read_manifest(path)
    except ComposerError:
        summary = f"cannot be read: composer check {name} tells why"
        return ShippedBundle(name, summary, verified=verified)
    found = on_this_machine(manifest, status)
    return ShippedBundle(
        name,
        manifest.summary,
        tuple(manifest.licence),
        tuple(manifest.variants),
        tuple(manifest.publishes),
        verified,
        abilities(manifest),
        found.nbytes,
        found.here,
        found.slow,
        status.unsettled,
    )
