"""How a program ends that a signal ends: tidied up, and with a code that says so."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import NoReturn

INTERRUPTED = 128 + signal.SIGINT
_AGAIN = 0.05  # seconds, in which a callback has ended
_received: list[int] = []


def interrupt_on_signals() -> None:
    """Treat SIGTERM and SIGHUP as Ctrl-C, unless whoever started this had them ignored.

    None of them is lost.
    """
    sys.unraisablehook = _unraisable
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)


def interrupt_exit_code() -> int:
    """Return the exit code of what was interrupted, as shells count it."""
    return 128 + _received[-1] if _received else INTERRUPTED


def _end(number: int, frame: object) -> NoReturn:
    _received.append(number)
    signal.signal(number, signal.SIG_DFL)  # the next one ends it at once
    raise KeyboardInterrupt


def _unraisable(found: sys.UnraisableHookArgs) -> None:
    """Interrupt once more where the first fell into a callback, which swallows what it raises."""
    if issubclass(found.exc_type, KeyboardInterrupt):
        threading.Timer(_AGAIN, os.kill, (os.getpid(), signal.SIGINT)).start()
    else:
        sys.__unraisablehook__(found)
