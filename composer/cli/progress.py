"""Show on a terminal how far a command is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from composer.core.terminal import console


@contextmanager
def progress(what: str, total: int, over_results: bool) -> Iterator[Callable[[], None]]:
    """Show a bar that each call moves on, unless results themselves appear on the terminal."""
    if not sys.stderr.isatty() or (over_results and sys.stdout.isatty()):
        yield lambda: None
        return
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    # Rich would print our stdout on its own console, and results belong into the pipe.
    with Progress(*columns, console=console(), transient=True, redirect_stdout=False) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
