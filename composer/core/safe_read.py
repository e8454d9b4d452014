"""Read a file that may be untrusted: it may be a pipe, or a hole of terabytes."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

RESULTS = 2**30  # bytes of a file of results


def read_whole(path: Path, most: int) -> bytes:
    """Return a regular file's bytes; raise OSError for a pipe or device, or for too many."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is a pipe or device")
        if status.st_size > most:
            raise OSError(errno.EFBIG, f"it has {status.st_size} bytes; the limit is {most}")
        return file.read(most)
