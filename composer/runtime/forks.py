"""Let a fork end where its parent loaded libraries whose threads it does not have."""

from __future__ import annotations

import os
from functools import cache
from weakref import WeakSet

_kept: WeakSet[object] = WeakSet()


def never_free_in_forks(loaded: object) -> None:
    """Never free an object in a fork of this process, nor run what its libraries do at an exit.

    Both wait for threads of the libraries, which a fork does not have. The fork ends with its own
    status, once Python is done.
    """
    _kept.add(loaded)
    _watch()


@cache
def _watch() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_keep)


def _keep() -> None:
    import ctypes

    for loaded in list(_kept):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(loaded))
    library = ctypes.CDLL(None)
    if hasattr(library, "on_exit"):  # of glibc; what is registered last runs first
        library.on_exit(ctypes.cast(library._exit, ctypes.c_void_p), None)
