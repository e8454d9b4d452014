"""Write rows of cells as lines of text whose columns stand below each other."""

from __future__ import annotations

from collections.abc import Sequence


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a line per row, each column as wide as its widest cell; rows have equally many."""
    widths: list[int] = []
    for column in zip(*rows, strict=True):
        widths.append(max(map(len, column)))
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def align_right(texts: Sequence[str]) -> list[str]:
    """Return texts that end at the same column."""
    width = max(map(len, texts), default=0)
    return [text.rjust(width) for text in texts]
