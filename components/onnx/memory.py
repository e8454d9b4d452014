"""Keep the memory that a load has freed from staying with the process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from composer.core.heap import glibc

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
    libc = glibc()
    with _loading:
        if libc:
            libc.mallopt(_M_MMAP_THRESHOLD, _OWN_MAPPING)
        try:
            yield
        finally:
            if libc:
                libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP)
                libc.mallopt(_M_TRIM_THRESHOLD, _LARGEST_TRIM)
