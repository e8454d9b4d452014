"""One exception that holds every problem found, each with its place, its causes and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from typing import Any, Literal, Self

from composer.core.terminal import escape_line

Severity = Literal["error", "warning"]

OK, DIFFERS, USAGE, REFUSED, NETWORK, FAILED = 0, 1, 2, 3, 4, 5
# By the first letters of a problem's code, the most telling first.
EXIT_CODES = (("R54", USAGE), ("R", FAILED), ("S48", FAILED), ("S49", NETWORK))


@dataclass(frozen=True)
class Place:
    """Where a problem stands: a file, and inside a text file its line and column, from 1."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return ":".join(map(str, filter(None, (self.file, self.line, self.column))))


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, in the words that a user reads."""

    code: str
    message: str
    place: Place | None = None
    causes: tuple[str, ...] = ()
    hint: str | None = None
    severity: Severity = "error"

    def __str__(self) -> str:
        lines = [f"{self.code} {self.message}"]
        if self.severity == "warning":
            lines = [f"{self.code} warning: {self.message}"]
        if self.place:
            lines = [f"{self.place}: {lines[0]}"]
        for cause in self.causes:
            lines.append(f"    {cause}")
        if self.hint:
            lines.append(f"    hint: {self.hint}")
        return "\n".join(map(escape_line, lines))

    def packed(self) -> dict[str, Any]:
        """Return an error as JSON holds it, for another process to unpack."""
        return {
            "code": self.code,
            "message": self.message,
            "place": self.place and astuple(self.place),
            "causes": self.causes,
            "hint": self.hint,
        }

    @classmethod
    def unpacked(cls, data: Mapping[str, Any]) -> Self:
        """Return the error that another process packed."""
        place = data["place"] and Place(*data["place"])
        return cls(data["code"], data["message"], place, tuple(data["causes"]), data["hint"])


def errors_of(problems: Iterable[Problem]) -> list[Problem]:
    """Return those of the problems that are errors and no warnings."""
    return [problem for problem in problems if problem.severity == "error"]


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Order problems by their place in the file, each text once."""
    unique = {str(problem): problem for problem in problems}.values()
    return tuple(sorted(unique, key=_line))


def _line(problem: Problem) -> tuple[int, int]:
    if problem.place is None:
        return 0, 0
    return problem.place.line or 0, problem.place.column or 0


class ComposerError(Exception):
    """A bundle that is refused, or a run that failed: all problems at once."""

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        if isinstance(problems, Problem):
            problems = (problems,)
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))

    @property
    def exit_code(self) -> int:
        """Return 2 for a run asked wrongly (R54x), 5 for one that failed (R, or audio that is bad),
        4 for the network, and 3 for a bundle that is refused.
        """
        for prefix, status in EXIT_CODES:
            if any(problem.code.startswith(prefix) for problem in self.problems):
                return status
        return REFUSED
