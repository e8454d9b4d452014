"""One exception that holds every problem found, each with its place, its causes and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

Severity = Literal["error", "warning"]

OK, DIFFERS, USAGE, REFUSED, NETWORK, FAILED = 0, 1, 2, 3, 4, 5


@dataclass(frozen=True)
class Place:
    """Where a problem stands: a file, and inside a text file its line and column, from 1."""

    file: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part)


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
        where = f"{self.place}: " if self.place else ""
        warning = "warning: " if self.severity == "warning" else ""
        lines = [f"{where}{self.code} {warning}{self.message}"]
        lines += [f"    {cause}" for cause in self.causes]
        if self.hint:
            lines.append(f"    hint: {self.hint}")
        return "\n".join(lines)

    def packed(self) -> dict[str, Any]:
        """Return an error as JSON holds it, for another process to unpack."""
        place = self.place
        return {
            "code": self.code,
            "message": self.message,
            "place": [place.file, place.line, place.column] if place else None,
            "causes": self.causes,
            "hint": self.hint,
        }

    @classmethod
    def unpacked(cls, data: Mapping[str, Any]) -> Self:
        """Return the error that another process packed."""
        place = Place(*data["place"]) if data["place"] else None
        return cls(data["code"], data["message"], place, tuple(data["causes"]), data["hint"])


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Order problems by their place in the file, each text once."""
    unique = {str(problem): problem for problem in problems}.values()
    return tuple(sorted(unique, key=_line))


def _line(problem: Problem) -> tuple[int, int]:
    place = problem.place
    return (place.line or 0, place.column or 0) if place else (0, 0)


class ComposerError(Exception):
    """A bundle that is refused, or a run that failed: all problems at once."""

    def __init__(self, problems: Problem | Iterable[Problem]) -> None:
        self.problems = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))

    @property
    def exit_code(self) -> int:
        """Return 2 for a run asked wrongly (R54x), 5 for one that failed (R, or audio that is bad),
        4 for the network, and 3 for a bundle that is refused.
        """
        codes = {problem.code for problem in self.problems}
        if any(code.startswith("R54") for code in codes):
            return USAGE
        if any(code.startswith(("R", "S48")) for code in codes):
            return FAILED
        return NETWORK if any(code.startswith("S49") for code in codes) else REFUSED
