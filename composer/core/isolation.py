"""Whether what is loaded now is untrusted, and so runs in a process that can be ended."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

MEMORY = 4 * 10**9  # bytes of a child, beside three times those that it loads

_isolated = ContextVar("isolated", default=False)


def is_isolated() -> bool:
    """Return whether native code that obeys a loaded file belongs in a child process."""
    return _isolated.get()


@contextmanager
def isolation(on: bool) -> Iterator[None]:
    """Load so for a while."""
    before = _isolated.set(on)
    try:
        yield
    finally:
        _isolated.reset(before)
