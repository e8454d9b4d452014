"""Write a table for a terminal of any width, and for programs as values between tabs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap

GAP = "  "
LEAST = 8  # columns below which a cell is not made narrower


@dataclass(frozen=True)
class Row:
    """The cells of a row, and the text below them."""

    cells: tuple[str, ...]
    below: str = ""


def table_lines(head: tuple[str, ...], rows: Sequence[Row], columns: int) -> Iterator[str]:
    """Yield a table that is at most so many columns wide; where there is no room, a record a row.

    Cells are broken between words, those of the widest column first, but not those of the first
    column, which are names.
    """
    widths = _widths([head, *(row.cells for row in rows)], columns)
    if widths is None:
        yield from _records(head, rows, columns)
        return
    for row in (Row(head), *rows):
        cells = [wrap(cell, width) for cell, width in zip(row.cells, widths, strict=True)]
        for number in range(max(map(len, cells))):
            parts = [cell[number] if number < len(cell) else "" for cell in cells]
            yield GAP.join(map(str.ljust, parts, widths)).rstrip()
        yield from _indented(row.below, columns)


def tab_separated(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a line a row; white space inside a value becomes one space."""
    return ["\t".join(" ".join(value.split()) for value in row) for row in rows]


def _widths(rows: Sequence[Sequence[str]], columns: int) -> list[int] | None:
    """Return the columns that each cell gets; None where they cannot stand side by side."""
    widths, least = [], []
    for column in zip(*rows, strict=True):
        widths.append(max(map(len, column)))
        words = [word for cell in column for word in cell.replace("-", "- ").split()]
        least.append(max([LEAST, *map(len, words)]))
    while sum(widths) + len(GAP) * (len(widths) - 1) > columns:
        able = [place for place in range(1, len(widths)) if widths[place] > least[place]]
        if not able:
            return None
        widths[max(able, key=widths.__getitem__)] -= 1
    return widths


def _records(head: Sequence[str], rows: Sequence[Row], columns: int) -> Iterator[str]:
    for row in rows:
        yield row.cells[0]
        for title, cell in zip(head[1:], row.cells[1:], strict=True):
            yield from _indented(f"{title.lower()}: {cell}", columns)
        yield from _indented(row.below, columns)


def _indented(text: str, columns: int) -> list[str]:
    return wrap(text, columns, initial_indent=GAP, subsequent_indent=GAP)
