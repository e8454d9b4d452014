"""Remember which locks were written on this machine: those alone are their user's own word."""

from __future__ import annotations

import hashlib
from pathlib import Path

from composer.core.own_files import write_note
from composer.sources.hub import settings


def remember_lock(data: bytes) -> None:
    """Note that whoever uses this machine wrote a lock of these bytes.

    Where that cannot be noted, its files are tried in a child process, as a stranger's.
    """
    write_note(_note(data))


def was_written_here(data: bytes) -> bool:
    """Tell whether a lock of these bytes was written on this machine."""
    try:
        return _note(data).is_file()
    except OSError:
        return False


def _note(data: bytes) -> Path:
    return settings.notes() / "locked" / hashlib.sha256(data).hexdigest()
