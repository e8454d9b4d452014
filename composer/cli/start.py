"""Start the command line: an interrupt ends it without a traceback while it is imported, too."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

from composer.cli.signals import INTERRUPTED, interrupt_on_signals


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; without arguments, the one of this process."""
    before = signal.getsignal(signal.SIGINT)
    is_program = arguments is None and before is signal.default_int_handler
    if is_program:
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    from composer.cli.app import main as run

    if is_program:
        signal.signal(signal.SIGINT, before)
        interrupt_on_signals()
    return run(arguments)
