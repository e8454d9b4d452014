"""Keep the memory that a load has freed from staying with the process."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

# Of glibc's malloc.h, and the values it works its way up to by itself.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_OWN_MAPPING = 1 << 20
_LARGEST_MMAP, _LARGEST_TRIM = 32 << 20, 64 << 20

_loading = Lock()


@contextmanager
def release_memory_after_load() -> Iterator[None]:
    """Load one model at a time, with each large block of it mapped apart.

    ONNX Runtime frees each weight once it is packed. glibc would serve such blocks from its heap,
    where they stay as holes: 2.1 to 2.6 GB for a file of 1.2 GB, 1.3 GB when mapped apart.
    Afterwards the thresholds are what glibc itself would have risen to.
    """
    mallopt = _mallopt()
    with _loading:
        if mallopt:
            mallopt(_M_MMAP_THRESHOLD, _OWN_MAPPING)
        try:
            yield
        finally:
            if mallopt:
                mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP)
                mallopt(_M_TRIM_THRESHOLD, _LARGEST_TRIM)


@cache
def _mallopt() -> Any:
    """Return glibc's mallopt, or None with another C library."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return None
    return libc.mallopt
