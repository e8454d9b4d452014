"""Return the size and the digest of a file without reading it twice."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from composer.core.location import Location
from composer.core.safe_write import write_cache_file
from composer.formats import LocalFiles
from composer.sources.hub import HubFile, settings, snapshot_of

PIECE = 1 << 20


def hub_entry_of(location: Location) -> HubFile | None:
    """Return a Hub file's entry in the listing of its commit."""
    found = snapshot_of(location)
    return found[0].files.get(found[1]) if found else None


def size_of(location: Location) -> int:
    """Return a file's size, listed or on this machine."""
    listed = hub_entry_of(location)
    if listed:
        return listed.size
    with LocalFiles().open(location) as opened:
        return opened.size


def sha256_of(path: Path) -> str:
    """Return a file's digest, stored if the file is unchanged since it was hashed."""
    return remembered_digest(path) or rehash(path)


def rehash(path: Path) -> str:
    """Hash a file and store its digest."""
    real, digest = path.resolve(), hashlib.sha256()
    before = _state(real)
    with real.open("rb") as opened:
        while piece := opened.read(PIECE):
            digest.update(piece)
    if _state(real) == before:
        write_cache_file(_note(real), json.dumps({"state": before, "sha256": digest.hexdigest()}))
    return digest.hexdigest()


def remembered_digest(path: Path) -> str | None:
    """Return the stored digest of an unchanged file, or None."""
    real = path.resolve()
    try:
        note = json.loads(_note(real).read_bytes())
        digest = note["sha256"] if note["state"] == _state(real) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return digest if isinstance(digest, str) else None


def _note(real: Path) -> Path:
    name = hashlib.sha256(os.fsencode(real)).hexdigest()
    return settings.notes_folder() / "hashed" / f"{name}.json"


def _state(real: Path) -> list[int | str]:
    """Return a stamp that changes when a file does; its change time cannot be set back."""
    status = real.stat()
    times = (status.st_mtime_ns, status.st_ctime_ns)
    return [str(real), status.st_size, *times, status.st_ino]
