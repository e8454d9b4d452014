"""Compare a checked bundle with its lock."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from composer.checker.lock_entries import variant_entry
from composer.core.errors import ComposerError, Problem, in_order
from composer.core.location import Location
from composer.graph.files import component_files
from composer.sources.hub import HubId, snapshot_of
from composer.sources.hub.card import cached_card, card_of
from composer.sources.lock.digests import hub_entry_of, remembered_digest, sha256_of, size_of
from composer.sources.lock.entries import (
    BundleLock,
    FileEntry,
    LockedComponent,
    LockedTask,
    LockedVariant,
)

if TYPE_CHECKING:
    from composer.graph.checked import Checked
    from composer.manifest import Manifest, Source

WRITE = "if the change is intended, update the lock: composer lock"
TAKE = "use the locked files or, if the change is intended, run composer lock"


def source_text(source: Source) -> str:
    """Return the name of a source in a lock."""
    if source.kind == "hf":
        return str(HubId(source.value, source.revision))
    return source.value


def lock_problems(checked: Checked) -> list[Problem]:
    """Return what differs, as far as it shows without hashing files again."""
    assert checked.lock
    return [
        *_manifest_problems(checked.lock, checked.manifest),
        *(_size_problems(checked, checked.components)),
        *_signature_problems(checked),
        *licence_problems(checked),
    ]


def check_digests(checked: Checked, names: Iterable[str]) -> None:
    """Raise S465 unless every file that components read has the locked sha256; hash each once."""
    problems = []
    for name, location, entry in _entries(checked, names):
        if entry and location.path and (found := _digest(location)) != entry.sha256:
            why = f"sha256 is {found[:16]}..., locked {entry.sha256[:16]}..."
            problems.append(_difference(checked, name, location, why))
    if problems:
        raise ComposerError(in_order(problems))


def locked_digest(checked: Checked, name: str) -> str:
    """Return one digest of all files that a component reads, as they are locked."""
    digests = []
    for _, location, entry in _entries(checked, [name]):
        assert entry, location
        digests.append(f"{location.inside} {entry.sha256}")
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def licence_problems(checked: Checked, ask: bool = False) -> list[Problem]:
    """Return a problem for each repository whose card states another licence than the lock.

    Cards that were not read before are fetched from the Hub only with `ask`.
    """
    lock, found = checked.lock, dict[str, Problem]()
    if lock is None or lock.is_trusted:
        return []
    for _, location, _ in _entries(checked, checked.components):
        text = source_text(checked.manifest.sources[location.source])
        entry, place = lock.model.sources.get(text), snapshot_of(location)
        if text in found or entry is None or place is None:
            continue
        card = card_of(place[0]) if ask else cached_card(place[0])
        if card and card.was_read and entry.licence and dict(card.stated) != entry.licence:
            message = f"{lock.path.name} states a licence of {text} that differs from its card"
            why = (f"the card: {_stated(card.stated)}", f"the lock: {_stated(entry.licence)}")
            at = checked.manifest.place("sources", location.source)
            found[text] = Problem("S466", message, at, why, WRITE)
    return list(found.values())


def _stated(licence: Mapping[str, str]) -> str:
    return ", ".join(f"{key} {text}" for key, text in sorted(licence.items())) or "nothing"


def has_trusted_lock(checked: Checked) -> bool:
    """Return whether the user wrote the lock: one that came with the bundle is not trusted."""
    return checked.lock is not None and checked.lock.is_trusted


def _manifest_problems(lock: BundleLock, manifest: Manifest) -> Iterator[Problem]:
    """Yield a problem if the manifest's text differs from the locked one."""
    data, entry = manifest.path.read_bytes(), lock.model.manifest
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        found = f"differs from the manifest that {lock.path.name} was made from"
        message = f"{manifest.path.name} {found}"
        yield Problem("S466", message, manifest.place(), hint=WRITE)


def _size_problems(checked: Checked, names: Iterable[str]) -> Iterator[Problem]:
    lock = checked.lock
    assert lock
    for name, location, entry in _entries(checked, names):
        if entry is None:
            message = f"{location} is not in {lock.path.name}"
            place = checked.manifest.place("components", name, key=True)
            yield Problem("S465", message, place, hint=WRITE)
            continue
        try:
            size = size_of(location)
        except (ComposerError, OSError):
            continue  # already reported by the component that needs it
        if size != entry.size:
            yield _difference(checked, name, location, f"{size} bytes, locked {entry.size}")
            continue
        found = _known_digest(location)
        if found not in (None, entry.sha256):
            why = f"sha256 is {found[:16]}..., locked {entry.sha256[:16]}..."
            yield _difference(checked, name, location, why)


def _entries(
    checked: Checked, names: Iterable[str]
) -> Iterator[tuple[str, Location, FileEntry | None]]:
    """Yield each file that components read, once, with the first component that reads it."""
    assert checked.lock
    seen = set()
    for name in names:
        for location in component_files(checked.components[name]):
            if location not in seen:
                seen.add(location)
                text = source_text(checked.manifest.sources[location.source])
                source = checked.lock.model.sources.get(text)
                entry = source.files.get(location.inside) if source else None
                yield name, location, entry


def _difference(checked: Checked, name: str, location: Location, why: str) -> Problem:
    assert checked.lock
    place = checked.manifest.place("components", name, key=True)
    message = f"{location} differs from {checked.lock.path.name}"
    return Problem("S465", message, place, (why,), TAKE)


def _known_digest(location: Location) -> str | None:
    """Return a file's sha256 if it is listed, or remembered for an unchanged file."""
    listed = hub_entry_of(location)
    if listed and listed.algorithm == "sha256":
        return listed.digest
    if location.path is None or not location.path.is_file():
        return None
    return remembered_digest(location.path)


def _digest(location: Location) -> str:
    """Return the sha256 of a local file; a download was already checked against its own."""
    listed = hub_entry_of(location)
    if listed and listed.algorithm == "sha256":
        return listed.digest
    assert location.path
    return sha256_of(location.path)


def _signature_problems(checked: Checked) -> Iterator[Problem]:
    """Yield a problem for each component and task whose ports differ from the locked ones."""
    lock, manifest = checked.lock, checked.manifest
    assert lock
    if checked.request.precision:
        return
    for each in checked.components.values():
        if each.facts is None or each.facts.unknown:
            return
    locked: LockedVariant | None = lock.model.edition
    if manifest.variant is not None:
        locked = lock.model.variants.get(manifest.variant)
    if locked is None:
        return  # then the manifest differs too
    now = variant_entry(checked)
    for name, entry in now.components.items():
        why = tuple(_component(entry, locked.components.get(name)))
        if why:
            message = f"{name} differs from {lock.path.name}"
            place = manifest.place("components", name, key=True)
            yield Problem("S466", message, place, why, WRITE)
    for name, task in now.tasks.items():
        why = tuple(_task(task, locked.tasks.get(name)))
        if why:
            message = f"the task {name} differs from {lock.path.name}"
            yield Problem("S466", message, manifest.place("tasks", name, key=True), why, WRITE)


def _component(now: LockedComponent, locked: LockedComponent | None) -> Iterator[str]:
    if locked is None:
        yield "there was no such component"
        return
    if now.use != locked.use:
        yield f"it is {now.use}, locked {locked.use}"
    if now.dtype != locked.dtype:
        yield f"it runs in {now.dtype}, locked {locked.dtype}"
    yield from _changed(now.dims, locked.dims)
    yield from _changed(now.ports, locked.ports)


def _task(now: LockedTask, locked: LockedTask | None) -> Iterator[str]:
    if locked is None:
        yield "there was no such task"
        return
    yield from _changed(now.inputs, locked.inputs)
    yield from _changed(now.outputs, locked.outputs)


def _changed(now: Mapping[str, object], locked: Mapping[str, object]) -> Iterator[str]:
    for key in sorted(now.keys() | locked.keys()):
        if now.get(key) != locked.get(key):
            yield f"{key} is {now.get(key, 'missing')}, locked {locked.get(key, 'missing')}"
