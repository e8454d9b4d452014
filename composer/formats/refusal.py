"""Refuse a file: one problem or many, each naming the file it is in."""

from __future__ import annotations

from typing import NoReturn

from composer.core.errors import ComposerError, Place, Problem
from composer.core.location import Location

LONGEST = 60
MOST = 50


def show(text: str) -> str:
    """Quote text from a hostile file: printable, on one line, at most 60 characters."""
    return repr(text if len(text) <= LONGEST else text[: LONGEST - 3] + "...")


def listing(names: tuple[str, ...] | list[str], most: int = 8) -> str:
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
        self.unsaid = 0

    def add(
        self, location: Location, code: str, message: str, *causes: str, hint: str | None = None
    ) -> None:
        """Keep one problem; past fifty, only count it."""
        if len(self.problems) < MOST:
            self.problems.append(Problem(code, message, Place(str(location)), causes, hint))
        else:
            self.unsaid += 1

    def extend(self, error: ComposerError) -> None:
        """Keep the problems of an error that was caught."""
        room = MOST - len(self.problems)
        self.problems += error.problems[:room]
        self.unsaid += max(len(error.problems) - room, 0)

    def finish(self) -> None:
        """Raise if there is any problem."""
        if not self.problems:
            return
        if self.unsaid:
            last = self.problems[-1]
            causes = (*last.causes, f"{self.unsaid} more problems like these are not shown")
            self.problems[-1] = Problem(last.code, last.message, last.place, causes, last.hint)
        raise ComposerError(self.problems)
