"""List the files that a component reads, and know their digests without reading them twice."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from composer.headers import LocalFiles
from composer.hub import settings, snapshot_of
from composer.hub.files import DATA
from composer.hub.tree import HubFile
from composer.location import Location

if TYPE_CHECKING:
    from composer.checker.graph import Known

PIECE = 1 << 20


def files_of(known: Known) -> Iterator[Location]:
    """Yield the files that a component opened, and of a place where it opened none, its data."""
    yield from known.files
    adapters = (adapter.weights for adapter in known.spec.adapters.values())
    for place in filter(None, (known.spec.weights, known.spec.files, *adapters)):
        if not any(f"{file}/".startswith(f"{place}/") for file in known.files):
            yield from _inside(place)


def _inside(place: Location) -> Iterator[Location]:
    found = snapshot_of(place)
    if found:
        snapshot, inside = found
        within = f"{inside}/" if inside else ""
        for name in snapshot.files:
            if name == inside:
                yield place
            elif name.startswith(within) and DATA.fullmatch(name):
                yield place / name.removeprefix(within)
    elif place.path and place.path.is_file():
        yield place
    elif place.path:
        for path in sorted(place.path.rglob("*")):
            name = path.relative_to(place.path).as_posix()
            if DATA.fullmatch(name) and path.is_file():
                yield place / name


def hub_file(location: Location) -> HubFile | None:
    """Return what the listing of its commit says of a file of the Hub."""
    found = snapshot_of(location)
    return found[0].files.get(found[1]) if found else None


def size_of(location: Location) -> int:
    """Return a file's size, listed or on this machine."""
    listed = hub_file(location)
    if listed:
        return listed.size
    with LocalFiles().open(location) as opened:
        return opened.size


def sha256_of(path: Path) -> str:
    """Return a file's digest, from memory where the file is untouched since it was hashed."""
    return remembered(path) or hash_again(path)


def hash_again(path: Path) -> str:
    """Hash a file and remember its digest."""
    real, digest = path.resolve(), hashlib.sha256()
    before = _state(real)
    with real.open("rb") as opened:
        while piece := opened.read(PIECE):
            digest.update(piece)
    if _state(real) == before:
        _remember(real, before, digest.hexdigest())
    return digest.hexdigest()


def remembered(path: Path) -> str | None:
    """Return the digest that an untouched file had when it was hashed; None for any other."""
    real = path.resolve()
    try:
        said = json.loads(_note(real).read_bytes())
        digest = said["sha256"] if said["state"] == _state(real) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return digest if isinstance(digest, str) else None


def _remember(real: Path, state: list[int | str], digest: str) -> None:
    note = _note(real)
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        part = note.with_name(f".{note.name}.{os.getpid()}")
        part.write_text(json.dumps({"state": state, "sha256": digest}))
        part.replace(note)
    except OSError:
        return  # it is hashed again next time


def _note(real: Path) -> Path:
    name = hashlib.sha256(os.fsencode(real)).hexdigest()
    return settings.notes() / "hashed" / f"{name}.json"


def _state(real: Path) -> list[int | str]:
    """Return what changes when a file does; its change time cannot be set back."""
    status = real.stat()
    times = (status.st_mtime_ns, status.st_ctime_ns)
    return [str(real), status.st_size, *times, status.st_ino]
