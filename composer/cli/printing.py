"""Print results on stdout, and all else on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

from composer.core.errors import Place, Problem, errors_of
from composer.core.output import json_text, problem_json, unwritable
from composer.core.terminal import stderr_console

KEPT = "\n\t"
MANIFESTS = (".yaml", ".yml", ".json")


def echo(text: str = "", end: str = "\n") -> None:
    """Print a result; raise ComposerError when there is no room for it."""
    try:
        sys.stdout.write((escape_control_characters(text) if sys.stdout.isatty() else text) + end)
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

    with stderr_console().status(
        Text(escape_control_characters(what))
    ):  # as text: its brackets are no markup
        yield


def show_hub_status(bundle: str) -> AbstractContextManager[None]:
    """Print on a terminal that the Hub is read, where a bundle is called by one of its IDs."""
    from composer.sources.hub import is_id

    return show_status(f"reading {bundle}") if is_id(bundle) else nullcontext()


def print_note(text: str) -> None:
    """Print what is no result."""
    sys.stderr.write(escape_control_characters(text) + "\n")
    sys.stderr.flush()


def print_problems(problems: Iterable[Problem]) -> None:
    """Print problems; on a terminal each with its line of the file, and a caret below."""
    for problem in problems:
        first, *rest = str(problem).split("\n")
        excerpt = _excerpt(problem.place) if sys.stderr.isatty() else []
        print_note("\n".join([first, *excerpt, *rest]))


def _excerpt(place: Place | None) -> list[str]:
    """Return a line of a manifest as far as the terminal is wide, and a caret under its column."""
    if place is None or place.line is None or not place.file.endswith(MANIFESTS):
        return []
    try:
        lines = Path(place.file).read_text("utf-8").splitlines()
        text = lines[place.line - 1].replace("\t", " ")
    except (OSError, ValueError, IndexError):
        return []
    head, at = f"{place.line:>5} | ", (place.column or 1) - 1
    room = max(10, get_terminal_size().columns - len(head) - 1)
    start = max(0, at - room // 2) if len(text) > room else 0
    return [
        head + text[start : start + room],
        " " * (len(head) - 2) + "| " + " " * (at - start) + "^",
    ]


def escape_control_characters(text: str) -> str:
    """Write control characters as escapes, so that no text can steer a terminal."""
    if text.isprintable():
        return text
    found = []
    for c in text:
        if c.isprintable() or c in KEPT:
            found.append(c)
        else:
            found.append(c.encode("unicode_escape").decode())
    return "".join(found)


def count(number: int, noun: str) -> str:
    """Return 1 node, 2 nodes."""
    return f"{number} {noun}" + "s" * (number != 1)


def problems_json(bundle: str, problems: Iterable[Problem], **more: Any) -> str:
    """Return what was found in a bundle or a run as one JSON object."""
    found = list(problems)
    ok = not errors_of(found)
    entries = [problem_json(problem) for problem in found]
    return json_text({"bundle": bundle, "ok": ok, "problems": entries, **more})
