"""The heap of the C library, in which NumPy and native libraries keep their arrays."""

from __future__ import annotations

import ctypes
import sys
import time
from functools import cache
from typing import Any

EVERY = 2.0  # seconds: giving back takes about a millisecond


@cache
def glibc() -> Any:
    """Return glibc, or None with another C library."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None


class FreedMemory:
    """Memory that was freed and is still the process's: holes between what is in use.

    glibc gives back the end of a heap alone. Arrays of ever other sizes, with a little that stays
    after each, made its holes grow from 20 to 80 MB within an hour of audio.
    """

    def __init__(self) -> None:
        self._next = 0.0

    def give_back(self) -> None:
        """Give it back to the system, where the last time is `EVERY` seconds ago."""
        now = time.monotonic()
        libc = glibc()
        if libc and now >= self._next:
            self._next = now + EVERY
            libc.malloc_trim(0)
