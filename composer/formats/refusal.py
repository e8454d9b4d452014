"""Refuse a file: one problem or many, each naming the file it is in."""

from __future__ import annotations

from typing import NoReturn

from composer.core.errors import ComposerError, Place, Problem
from composer.core.location import Location

MAX_SHOWN = 60
MAX_PROBLEMS = 50


def show(text: str) -> str:
    """Quote text from a hostile file: printable, on one line, at most 60 characters."""
    return repr(text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "...")


def join_names(names: tuple[str, ...] | list[str], most: int = 8) -> str:
    """Join names for a message, saying how many are left out."""
    shown = ", ".join(show(name)[1:-1] for name in names[:most])
    left = len(names) - most
    return f"{shown} and {left} more" if left > 0 else shown or "nothing"


def refuse(
    location: Location, code: str, message: str, *causes: str, hint: str | None = None
) -> NoReturn:
    """Raise one problem that stands in this file."""
    raise ComposerError(Problem(code, message, Place(str(location)), causes, hint))


class Report:
    """Collect what is wrong with files, then refuse them for all of it at once."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.omitted = 0

    def add(
        self, location: Location, code: str, message: str, *causes: str, hint: str | None = None
    ) -> None:
        """Add one problem; past fifty, only count it."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(Problem(code, message, Place(str(location)), causes, hint))
        else:
            self.omitted += 1

    def extend(self, error: ComposerError) -> None:
        """Add the problems of a caught error."""
        room = MAX_PROBLEMS - len(self.problems)
        self.problems += error.problems[:room]
        self.omitted += max(len(error.problems) - room, 0)

    def finish(self) -> None:
        """Raise if there is any problem."""
        if not self.problems:
            return
        if self.omitted:
            last = self.problems[-1]
            causes = (*last.causes, f"{self.omitted} more problems like these are not shown")
            self.problems[-1] = Problem(last.code, last.message, last.place, causes, last.hint)
        raise ComposerError(self.problems)
