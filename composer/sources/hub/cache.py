"""Store files like the Hugging Face cache, and record which of them were verified."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from composer.core.safe_write import write_cache_file
from composer.sources.hub import settings
from composer.sources.hub.errors import raise_refused
from composer.sources.hub.snapshots import Snapshot
from composer.sources.hub.tree import HubFile

PIECE = 1 << 20


def cached_path(snapshot: Snapshot, file: HubFile) -> Path | None:
    """Return the real path of a cached file of the right size, or None.

    Its content may still be wrong.
    """
    try:
        real = (snapshot.root / file.path).resolve(strict=True)
        if not real.is_relative_to(settings.cache_folder().resolve()) or not real.is_file():
            return None
        if real.stat().st_size != file.size:
            return None
    except OSError:
        return None
    return real


def is_verified(snapshot: Snapshot, file: HubFile) -> bool:
    """Return whether a file is cached, verified, and unchanged since."""
    real = cached_path(snapshot, file)
    return real is not None and is_untouched(real, _note(snapshot, file))


def is_untouched(real: Path, note: Path) -> bool:
    """Return whether a file is unchanged since its note was written."""
    try:
        return bool(json.loads(note.read_bytes()) == _state(real))
    except (OSError, ValueError):
        return False


def remember_verified(snapshot: Snapshot, file: HubFile, real: Path) -> None:
    """Record that a file was verified in its current state."""
    write_cache_file(_note(snapshot, file), json.dumps(_state(real)))


def link_into_snapshot(snapshot: Snapshot, file: HubFile) -> None:
    """Link a blob into the snapshot by its name, or move it if links are not supported."""
    path, blob = snapshot.root / file.path, snapshot.blob(file)
    if not path.parent.resolve().is_relative_to(settings.cache_folder().resolve()):
        hint = "remove the link, or the repository: composer cache --remove"
        raise_refused("S439", f"{path.parent} is a link that leads out of the cache", hint=hint)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}"[-200:])
    try:
        part.symlink_to(os.path.relpath(blob, path.parent))
    except OSError:
        blob.replace(path)  # a file system without links
        return
    part.replace(path)


def digest_of(path: Path, file: HubFile) -> str:
    """Hash a file with its digest's algorithm."""
    digest = new_hash(file)
    with path.open("rb") as opened:
        while piece := opened.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


def new_hash(file: HubFile) -> hashlib._Hash:
    """Return a hash object for a file's bytes; git's starts with the size."""
    if file.algorithm == "sha256":
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)


def _note(snapshot: Snapshot, file: HubFile) -> Path:
    return settings.notes_folder() / settings.folder_name(snapshot.repo) / "verified" / file.digest


def _state(real: Path) -> list[int | str]:
    status = real.stat()
    # Whoever writes into a file can set its mtime back, and not its ctime.
    times = (status.st_mtime_ns, status.st_ctime_ns)
    return [str(real), status.st_size, *times, status.st_ino]
