"""Keep files as the Hugging Face cache does, and remember which of them were verified."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from composer.core.own_files import write_note
from composer.sources.hub import settings
from composer.sources.hub.snapshots import Snapshot
from composer.sources.hub.tree import HubFile
from composer.sources.hub.trouble import refused

PIECE = 1 << 20


def local(snapshot: Snapshot, file: HubFile) -> Path | None:
    """Return the real path of a file that is here, in its right size, inside the cache; or None.

    Its bytes may still be others.
    """
    try:
        real = (snapshot.root / file.path).resolve(strict=True)
        sound = real.is_relative_to(settings.cache().resolve()) and real.is_file()
        return real if sound and real.stat().st_size == file.size else None
    except OSError:
        return None


def is_verified(snapshot: Snapshot, file: HubFile) -> bool:
    """Tell whether a file is here and is, untouched since, what was verified once."""
    real = local(snapshot, file)
    return real is not None and is_untouched(real, _note(snapshot, file))


def is_untouched(real: Path, note: Path) -> bool:
    """Tell whether a file is as it was when a note was made of it."""
    try:
        return bool(json.loads(note.read_bytes()) == _state(real))
    except (OSError, ValueError):
        return False


def remember(snapshot: Snapshot, file: HubFile, real: Path) -> None:
    """Note that a file was verified, as it is now."""
    write_note(_note(snapshot, file), json.dumps(_state(real)))


def link(snapshot: Snapshot, file: HubFile) -> None:
    """Put a blob under its name into the snapshot: as a link, or moved where there are none."""
    place, blob = snapshot.root / file.path, snapshot.blob(file)
    if not place.parent.resolve().is_relative_to(settings.cache().resolve()):
        hint = "remove the link, or the repository: composer cache --remove"
        refused("S439", f"{place.parent} is a link that leads out of the cache", hint=hint)
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(f".{place.name}.{os.getpid()}"[-200:])
    try:
        part.symlink_to(os.path.relpath(blob, place.parent))
    except OSError:
        blob.replace(place)  # a file system without links
        return
    part.replace(place)


def digest_of(path: Path, file: HubFile) -> str:
    """Hash a file in the way of its digest."""
    digest = new_hash(file)
    with path.open("rb") as opened:
        while piece := opened.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


def new_hash(file: HubFile) -> hashlib._Hash:
    """Return a hash that is fed the bytes of a file; git's begins with its size."""
    if file.algorithm == "sha256":
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)


def _note(snapshot: Snapshot, file: HubFile) -> Path:
    return settings.notes() / settings.folder_name(snapshot.repo) / "verified" / file.digest


def _state(real: Path) -> list[int | str]:
    status = real.stat()
    # Whoever writes into a file can set its mtime back, and not its ctime.
    times = (status.st_mtime_ns, status.st_ctime_ns)
    return [str(real), status.st_size, *times, status.st_ino]
