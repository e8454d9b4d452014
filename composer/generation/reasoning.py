"""What a model says aside, such as its thoughts: the ids between two marks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Marks:
    """The id that begins what is said aside, and the one that ends it."""

    open: int
    close: int


class ReasoningFilter:
    """Follow an answer id by id; without marks nothing stands aside.

    Both marks stand aside themselves, and so does all that follows one that is never closed.
    """

    def __init__(self, marks: Marks | None) -> None:
        self._marks = marks
        self._inside = False

    def has(self, id: int) -> bool:
        """Take the next id and tell whether it stands aside."""
        if self._marks is None:
            return False
        if id in (self._marks.open, self._marks.close):
            self._inside = id == self._marks.open
            return True
        return self._inside


def without_reasoning(ids: Iterable[int], marks: Marks | None) -> list[int]:
    """Return the ids that stand not aside."""
    aside = ReasoningFilter(marks)
    return [id for id in ids if not aside.has(id)]
