"""Record which locks were written on this machine: only those are trusted."""

from __future__ import annotations

import hashlib
from pathlib import Path

from composer.core.safe_write import write_cache_file
from composer.sources.hub import settings


def remember_lock(data: bytes) -> None:
    """Record that a lock of these bytes was written on this machine.

    If that cannot be recorded, its files are tried in a child process, like untrusted ones.
    """
    write_cache_file(_note(data))


def was_written_here(data: bytes) -> bool:
    """Return whether a lock of these bytes was written on this machine."""
    try:
        return _note(data).is_file()
    except OSError:
        return False


def _note(data: bytes) -> Path:
    return settings.notes_folder() / "locked" / hashlib.sha256(data).hexdigest()
