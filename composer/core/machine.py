"""What this machine has, and what it lets this process have."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from composer.core.errors import ComposerError, Place, Problem

LIBRARIES = 250_000_000  # bytes of address space to import NumPy, with its threads
NO_THREAD = "can't start new thread"
BLAS_THREADS = 64  # that it starts at most
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


def require_threads() -> None:
    """Raise R589 where the system refuses the threads that NumPy's BLAS starts as it is imported.

    It would end the process then, by a signal that looks like an interrupt.
    """
    if "numpy" in sys.modules or "OPENBLAS_NUM_THREADS" in os.environ:
        return
    over = threading.Event()
    started: list[threading.Thread] = []
    try:
        for _ in range(min(processor_count(), BLAS_THREADS)):
            started.append(threading.Thread(target=over.wait, daemon=True))
            started[-1].start()
    except RuntimeError as error:
        started.pop()
        raise ComposerError(refusal_of_system(error)) from None
    finally:
        over.set()
        for each in started:
            each.join()


def refusal_of_system(error: OSError | MemoryError | RuntimeError) -> Problem:
    """Return the problem of what the system refused unexpectedly; raise any other error."""
    if isinstance(error, MemoryError):
        return Problem("R589", "the system refused memory")
    if isinstance(error, RuntimeError):
        if NO_THREAD not in str(error):
            raise error
        hint = "raise the limit: ulimit -u, or --pids-limit of a container"
        return Problem("R589", "the system refused a thread", hint=hint)
    place = Place(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None
    return Problem("R589", f"the system refused it: {error.strerror or error}", place)


def processor_count() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
