"""Collect problems, and raise them all at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from composer.core.errors import ComposerError, Place, Problem, Severity, errors_of


class Problems(list[Problem]):
    """Problems in the order in which they are found.

    `place` is that of a problem without one of its own. Of more than `limit` the rest is counted.
    """

    def __init__(
        self,
        problems: Iterable[Problem] = (),
        *,
        place: Place | None = None,
        limit: int | None = None,
    ) -> None:
        super().__init__(problems)
        self.place = place
        self.limit = limit
        self.omitted = 0

    def report(
        self,
        code: str,
        message: str,
        *causes: str,
        hint: str | None = None,
        place: Place | None = None,
        severity: Severity = "error",
    ) -> None:
        """Add a problem."""
        self.add(Problem(code, message, place or self.place, causes, hint, severity))

    def add(self, *problems: Problem) -> None:
        """Add problems, within the limit."""
        if self.limit is None:
            self.extend(problems)
            return
        room = max(self.limit - len(self), 0)
        self.extend(problems[:room])
        self.omitted += len(problems[room:])

    @contextmanager
    def collect(self, place: Place | None = None) -> Iterator[None]:
        """Add the problems of a block that is refused, at a place, and go on after it."""
        try:
            yield
        except ComposerError as error:
            problems = error.problems
            if place:
                problems = tuple(replace(problem, place=place) for problem in problems)
            self.add(*problems)

    def raise_any(self) -> None:
        """Raise ComposerError with all of them if one is an error."""
        if not errors_of(self):
            return
        if self.omitted:
            more = f"{self.omitted} more problems like these are not shown"
            self[-1] = replace(self[-1], causes=(*self[-1].causes, more))
        raise ComposerError(self)
