"""Refuse a file: one problem or many, each naming the file it is in."""

from __future__ import annotations

from typing import NoReturn

from composer.core.errors import ComposerError, Place, Problem
from composer.core.location import Location
from composer.core.problems import Problems
from composer.core.suggest import shorten

MAX_SHOWN = 60
MAX_PROBLEMS = 50


def show(text: str) -> str:
    """Quote text from a hostile file: printable, on one line, at most 60 characters."""
    return repr(shorten(text, MAX_SHOWN))


def show_bare(value: object) -> str:
    """Show a value of a hostile file as `show` does, without quotes."""
    return show(str(value))[1:-1]


def join_names(names: tuple[str, ...] | list[str], most: int = 8) -> str:
    """Join names for a message, saying how many are left out."""
    shown = ", ".join(show_bare(name) for name in names[:most])
    left = len(names) - most
    return f"{shown} and {left} more" if left > 0 else shown or "nothing"


def refuse(
    location: Location, code: str, message: str, *causes: str, hint: str | None = None
) -> NoReturn:
    """Raise one problem that stands in this file."""
    raise ComposerError(Problem(code, message, Place(str(location)), causes, hint))


class FileProblems(Problems):
    """What is wrong with files, the first fifty problems of it."""

    def __init__(self) -> None:
        super().__init__(limit=MAX_PROBLEMS)

    def at(
        self, location: Location, code: str, message: str, *causes: str, hint: str | None = None
    ) -> None:
        """Add a problem of a file."""
        self.report(code, message, *causes, hint=hint, place=Place(str(location)))
