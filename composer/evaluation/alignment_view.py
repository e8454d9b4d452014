"""Show a reference and a hypothesis aligned word by word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from unicodedata import east_asian_width

from composer.evaluation.alignment import AlignedWords

MARKS = {"equal": " ", "substitute": "S", "delete": "D", "insert": "I"}
LABELS = ("ref", "hyp", "   ")
Paint = Callable[[str, str], str]


def aligned_columns(spans: Sequence[AlignedWords]) -> list[tuple[str, str, str]]:
    """Return each word of the reference, its aligned word, and the mark of the error."""
    found = []
    for span in spans:
        pairs = list(zip_longest(span.reference, span.hypothesis, fillvalue=""))
        # A compound is written in one word on one side, and in several on the other.
        if span.kind == "equal" and len(span.reference) != len(span.hypothesis):
            pairs = [(" ".join(span.reference), " ".join(span.hypothesis))]
        for reference, hypothesis in pairs:
            found.append((reference, hypothesis, MARKS[span.kind]))
    return found


def alignment_text(
    spans: Sequence[AlignedWords], width: int, paint: Paint = lambda text, mark: text
) -> str:
    """Return lines of reference, hypothesis and marks, wrapped at `width`.

    A missing word is a row of stars. `paint` colours a word by its mark.
    """
    lines: list[str] = []
    row: list[tuple[str, str, str]] = []
    room, used = max(20, width - len(LABELS[0]) - 1), 0
    for column in aligned_columns(spans):
        wide = 1 + max(map(_width, column))
        if row and used + wide > room:
            lines += _lines(row, paint)
            row, used = [], 0
        used += wide
        row.append(column)
    return "\n".join([*lines, *_lines(row, paint)])


def _lines(row: Sequence[tuple[str, str, str]], paint: Paint) -> list[str]:
    if not row:
        return []
    lines = []
    for number, label in enumerate(LABELS):
        parts = [label]
        for column in row:
            wide, mark = max(map(_width, column)), column[2]
            text = column[number] or "*" * wide
            parts.append(paint(text, mark) + " " * (wide - _width(text)))
        lines.append(" ".join(parts).rstrip())
    if all(column[2] == " " for column in row):
        return lines[:2]
    return lines


def _width(text: str) -> int:
    return len(text) + sum(east_asian_width(character) in "WF" for character in text)
