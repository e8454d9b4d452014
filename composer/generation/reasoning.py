"""Reasoning that is left out of the text: the ids between two marks."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class ReasoningIds:
    """The ids that open and close a stretch of reasoning."""

    open: int
    close: int


class ReasoningFilter:
    """Follow an answer id by id; without marks nothing is reasoning.

    Both marks count as reasoning, and so does everything after one that is never closed.
    """

    def __init__(self, marks: ReasoningIds | None) -> None:
        self._marks = marks
        self._inside = False

    def skips(self, id: int) -> bool:
        """Take the next id and return whether it is reasoning."""
        if self._marks is None:
            return False
        if id in (self._marks.open, self._marks.close):
            self._inside = id == self._marks.open
            return True
        return self._inside


def without_reasoning(
    ids: Iterable[int], marks: ReasoningIds | None, breaks: Collection[int] = ()
) -> list[int]:
    """Return the ids that are not reasoning, nor line breaks (`breaks`) right behind it."""
    reasoning = ReasoningFilter(marks)
    kept: list[int] = []
    behind = False
    for id in ids:
        skipped = reasoning.skips(id)
        behind = skipped or (behind and id in breaks)
        if not behind:
            kept.append(id)
    return kept
