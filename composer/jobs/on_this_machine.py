"""Say of a bundle how large its files are, whether they are on this machine, and if it is fast."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from composer.checker import check_variant
from composer.checker.backend_choice import candidates
from composer.core import registry
from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.core.machine import memory_bytes
from composer.core.units import format_bytes
from composer.graph.checked import Checked
from composer.graph.files import component_files, files_inside
from composer.manifest import Manifest
from composer.sources.catalogue import Status
from composer.sources.hub import Hub, HubId, RequiredFile, is_downloaded, snapshot_of
from composer.sources.resolve import ResolvedBundle
from composer.sources.roots import location_of, resolve_sources


@dataclass(frozen=True)
class OnThisMachine:
    """The bytes of a bundle's files, None where these are not known; whether all are here; and why
    it is slow here, None where it is not.
    """

    nbytes: int | None = None
    here: bool = False
    slow: str | None = None


def on_this_machine(manifest: Manifest, status: Status) -> OnThisMachine:
    """Look without a network; of files that are not here `status` says how large they are."""
    hub = Hub(offline=True)
    backends, here = dict(status.backends), False
    nbytes = status.bytes
    if all(source.kind == "folder" for source in manifest.sources.values()):
        here, nbytes = True, sum(_size(file)[0] for file in _local_files(manifest, hub))
    elif checked := _cached_bundle(manifest, hub):
        files: dict[str, Location] = {}
        for name, each in checked.components.items():
            backends[name] = each.cls.name.partition(".")[0]
            files |= {str(file): file for file in component_files(each)}
        sizes = [_size(file) for file in files.values()]
        nbytes, here = sum(size for size, _ in sizes), all(found for _, found in sizes)
    return OnThisMachine(nbytes, here, _why_slow(manifest, backends, nbytes or 0, status.memory))


def _local_files(manifest: Manifest, hub: Hub) -> Iterator[Location]:
    roots, _ = resolve_sources(manifest, ResolvedBundle(manifest.path, hub=hub))
    paths: dict[str, None] = {}
    for entry in manifest.components.values():
        adapters = [adapter.weights for adapter in entry.adapters.values()]
        paths |= dict.fromkeys(filter(None, (entry.weights, entry.files, *adapters)))
    for path in paths:
        yield from files_inside(location_of(path, roots))


def _cached_bundle(manifest: Manifest, hub: Hub) -> Checked | None:
    """Return the bundle as far as its headers are in the cache; None where one is not."""
    try:
        for source in manifest.sources.values():
            if source.kind == "hf":
                hub.snapshot(HubId(source.value, source.revision))
        found = check_variant(ResolvedBundle(manifest.path, hub=hub), None)
    except ComposerError:
        return None
    return found.bundle if found.ok else None


def _size(place: Location) -> tuple[int, bool]:
    """Return the bytes of a file, and whether it is here."""
    found = snapshot_of(place)
    if found:
        snapshot, path = found
        file = snapshot.files[path]
        return file.size, is_downloaded(RequiredFile(snapshot, file, ()))
    assert place.path is not None
    return place.path.stat().st_size, True


def _why_slow(
    manifest: Manifest, known: Mapping[str, str], nbytes: int, memory: Mapping[str, int]
) -> str | None:
    """Return why a bundle is slow here: for want of memory, or of a backend that is made for this
    machine. `known` are backends by component, `memory` what the bundle takes by backend.
    """
    found = {each.name: (each.title, *each.suitability()) for each in registry.working_backends()}
    needed = nbytes
    for name, entry in manifest.components.items():
        kind = next(iter(candidates(entry.use, name, {})), None)
        if not entry.weights or kind is None:
            continue
        first, _, family = kind.kind.partition(".")
        backend = known.get(name, first)
        needed = max(needed, memory.get(backend, 0))
        able = [found[each][1] for each in registry.family_kinds(family) if each in found]
        if backend in found and found[backend][1] < max(able, default=0):
            title, _, reason = found[backend]
            return f"{name} runs on {title}, and {reason}"
    there = memory_bytes()
    if needed <= there:
        return None
    return f"it takes {format_bytes(needed)}, and this machine has {format_bytes(there)} of memory"
