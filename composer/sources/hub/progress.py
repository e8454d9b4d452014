"""Show one bar for all downloads on a terminal; show nothing when piped."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from composer.core.terminal import stderr_console
from composer.sources.hub import settings


def on_terminal() -> bool:
    """Return whether standard error is a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def download_bar(total: int, files: int) -> Iterator[Callable[[int], None]]:
    """Yield a function to report received bytes; it may be called from several threads."""
    if settings.hides_progress() or not on_terminal():
        yield lambda _: None
        return
    from rich.progress import DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (*Progress.get_default_columns()[:2], DownloadColumn(), TransferSpeedColumn())
    bar = Progress(
        *columns,
        TimeRemainingColumn(),
        console=stderr_console(),
        transient=True,
        redirect_stdout=False,
    )
    label = f"fetching {files} files" if files > 1 else "fetching 1 file"
    with bar:
        task = bar.add_task(label, total=total)
        yield lambda count: bar.advance(task, count)
