"""Show on a terminal how far a command is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from composer.cli.printing import print_note, show_status
from composer.core.terminal import stderr_console

if TYPE_CHECKING:
    from composer.jobs.progress import JobProgress


@contextmanager
def progress_bar(what: str, total: int, over_results: bool) -> Iterator[Callable[[str], None]]:
    """Show a bar that each call moves on, with how fast it is, unless results themselves appear."""
    if not sys.stderr.isatty() or (over_results and sys.stdout.isatty()):
        yield lambda speed: None
        return
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    # Rich would print our stdout on its own console, and results belong into the pipe.
    with Progress(*columns, console=stderr_console(), transient=True, redirect_stdout=False) as bar:
        task = bar.add_task(what, total=total)
        yield lambda speed: bar.update(task, advance=1, description=f"{what} {speed}".strip())


@contextmanager
def show_progress(over_results: bool = False) -> Iterator[Callable[[JobProgress], None]]:
    """Show the stages of a job: a bar where steps are counted, else what is under way.

    There is no bar where results themselves appear on the terminal. What is fetched has one of its
    own.
    """
    with ExitStack() as shown:
        current = ""
        advance: Callable[[str], None] = lambda speed: None  # noqa: E731

        def show(step: JobProgress) -> None:
            nonlocal current, advance
            if step.stage == current:
                advance(step.speed)
                return
            shown.close()
            current = step.stage
            if step.stage == "resuming":
                print_note(f"{step.done} of {step.total} clips are in {step.subject} already")
                return
            if step.total is not None:
                advance = shown.enter_context(progress_bar(step.stage, step.total, over_results))
            elif step.stage != "fetching":
                shown.enter_context(show_status(f"{step.stage} {step.subject}"))

        yield show
