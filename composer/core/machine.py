"""What this machine has, and what it lets this process have."""

from __future__ import annotations

import os
from pathlib import Path

from composer.core.errors import ComposerError, Problem

LIBRARIES = 250_000_000  # bytes of address space to import NumPy, with its threads
LOADING = 400_000_000  # and to load a component: libraries, their threads and their arenas


def memory_bytes() -> int:
    """Return the bytes of memory that are built in."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def require_address_space(nbytes: int) -> None:
    """Raise R589 where the system grants this process less (ulimit -v).

    Native libraries end the process where they get no memory, or fail in words of their own.
    """
    try:
        import resource

        most, _ = resource.getrlimit(resource.RLIMIT_AS)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (ImportError, OSError):  # no such limit here
        return
    if most != resource.RLIM_INFINITY and most - used < nbytes:
        message = (
            f"the system grants {most / 1e9:.2g} GB of address space, and "
            f"{(used + nbytes) / 1e9:.2g} GB are needed"
        )
        raise ComposerError(Problem("R589", message, hint="raise the limit: ulimit -v unlimited"))


def processor_count() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
