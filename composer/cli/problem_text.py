"""Write a problem for a terminal: wrapped between words, with the line that it is about."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import get_terminal_size
from textwrap import wrap
from unicodedata import east_asian_width

from composer.cli.colour import Colour, coloured
from composer.core.errors import Place, Problem

MANIFESTS = (".yaml", ".yml", ".json")
INDENT = "    "
WORD = re.compile(r"[^\s,:{}\[\]]+")
LEAST_WIDTH = 10


def problem_text(problem: Problem) -> str:
    """Return a problem as standard error shows it: plain where that is no terminal."""
    text = str(problem)
    if not sys.stderr.isatty():
        return text
    columns = get_terminal_size().columns
    first, *rest = text.split("\n")
    lines = [_with_code_in_colour(line, problem) for line in _wrapped(first, columns, INDENT)]
    lines += _excerpt(problem.place, columns)
    for line in rest:
        colour = Colour.HINT if line.startswith(f"{INDENT}hint: ") else Colour.QUIET
        lines += [_show(each, colour) for each in _wrapped(line, columns, INDENT + "  ")]
    return "\n".join(lines)


def _wrapped(line: str, columns: int, indent: str) -> list[str]:
    """Break a line between words; a word that is wider than the terminal stays whole."""
    return wrap(
        line, max(columns, LEAST_WIDTH), subsequent_indent=indent, break_long_words=False,
        break_on_hyphens=False, replace_whitespace=False,
    ) or [line]  # fmt: skip


def _with_code_in_colour(line: str, problem: Problem) -> str:
    colour = Colour.ERROR if problem.severity == "error" else Colour.WARNING
    return re.sub(rf"\b{problem.code}\b", _show(problem.code, colour), line, count=1)


def _show(text: str, colour: Colour) -> str:
    return coloured(text, colour, sys.stderr)


def _excerpt(place: Place | None, columns: int) -> Iterator[str]:
    """Yield a line of a manifest as far as the terminal is wide, and carets under a word of it."""
    if place is None or place.line is None or not place.file.endswith(MANIFESTS):
        return
    try:
        text = Path(place.file).read_text("utf-8").splitlines()[place.line - 1].replace("\t", " ")
    except (OSError, ValueError, IndexError):
        return
    text = "".join(each if each.isprintable() else "?" for each in text)
    number, at = str(place.line), (place.column or 1) - 1
    gutter = " " * len(number) + " |"
    room = max(LEAST_WIDTH, columns - len(gutter) - 1)
    start = _first_shown(text, at, room)
    shown = _cut(text[start:], room)
    word = WORD.match(text, at)
    carets = "^" * _width(_cut((word[0] if word else "^"), room - _width(text[start:at])))
    yield _show(gutter, Colour.QUIET)
    yield f"{_show(f'{number} |', Colour.QUIET)} {shown}"
    below = " " * _width(text[start:at])
    yield f"{_show(gutter, Colour.QUIET)} {below}{_show(carets or '^', Colour.ERROR)}"


def _first_shown(text: str, at: int, room: int) -> int:
    """Return where to begin so that the place is within the room."""
    if _width(text) <= room:
        return 0
    start = at
    while start and _width(text[start - 1 : at]) <= room // 2:
        start -= 1
    return start


def _cut(text: str, room: int) -> str:
    """Return as many characters as have room."""
    while _width(text) > room:
        text = text[:-1]
    return text


def _width(text: str) -> int:
    """Return the columns that a text takes: two for each wide character."""
    return sum(2 if east_asian_width(character) in "WF" else 1 for character in text)
