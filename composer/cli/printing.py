"""Print results on stdout, and all else on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from composer.cli.colour import Colour, coloured
from composer.cli.problem_text import problem_text
from composer.core.errors import Problem, errors_of
from composer.core.output import json_text, problem_json, unwritable
from composer.core.terminal import escape_control_characters, escape_line, stderr_console


def echo(text: str = "", end: str = "\n") -> None:
    """Print a result; raise ComposerError when there is no room for it."""
    _print(escape_control_characters(text) if sys.stdout.isatty() else text, end)


def echo_line(text: str) -> None:
    """Print a line of a result that names files, on one line whatever they are called."""
    echo(escape_line(text))


def echo_coloured(text: str, colour: Colour) -> None:
    """Print a line of a result, in colour where standard output has colours."""
    _print(coloured(escape_control_characters(text), colour, sys.stdout), "\n")


def _print(text: str, end: str) -> None:
    try:
        sys.stdout.write(text + end)
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise unwritable(Path("standard output"), error) from None


@contextmanager
def show_status(what: str) -> Iterator[None]:
    """Print on a terminal what is under way; print nothing when piped."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.text import Text

    with stderr_console().status(Text(escape_line(what))):  # as text: its brackets are no markup
        yield


def show_hub_status(bundle: str) -> AbstractContextManager[None]:
    """Print on a terminal that the Hub is read, where a bundle is called by one of its IDs."""
    from composer.sources.hub import is_id

    return show_status(f"reading {bundle}") if is_id(bundle) else nullcontext()


def print_note(text: str) -> None:
    """Print a line that is no result."""
    sys.stderr.write(escape_line(text) + "\n")
    sys.stderr.flush()


def print_problems(problems: Iterable[Problem]) -> None:
    """Print problems; on a terminal each with its line of the file, and a caret below."""
    for problem in problems:
        sys.stderr.write(problem_text(problem) + "\n")
        sys.stderr.flush()


def count(number: int, noun: str) -> str:
    """Return 1 node, 2 nodes."""
    return f"{number} {noun}" + "s" * (number != 1)


def problems_json(bundle: str, problems: Iterable[Problem], **more: Any) -> str:
    """Return what was found in a bundle or a run as one JSON object."""
    found = list(problems)
    ok = not errors_of(found)
    entries = [problem_json(problem) for problem in found]
    return json_text({"bundle": bundle, "ok": ok, "problems": entries, **more})
