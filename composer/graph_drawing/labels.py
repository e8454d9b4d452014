"""Place the labels of arrows where they cover no box and no other label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from composer.graph_drawing.layout import Point

HEIGHT, CLEAR = 13.0, 2.0
# Parts of a bend to try, its middle first, and how far beside it in widths of the label.
PARTS = tuple(0.5 + sign * step / 20 for step in range(9) for sign in (1, -1))
BESIDE = (0.0, 0.5, -0.5)


@dataclass(frozen=True)
class Rectangle:
    """A rectangle by its centre and its extent."""

    x: float
    y: float
    width: float
    height: float

    def overlaps(self, other: Rectangle) -> bool:
        """Return whether less than CLEAR is between the two."""
        reach = (self.width + other.width) / 2 + CLEAR, (self.height + other.height) / 2 + CLEAR
        return abs(self.x - other.x) < reach[0] and abs(self.y - other.y) < reach[1]


def place_labels(
    paths: Sequence[tuple[Point, ...]],
    widths: Sequence[float],
    boxes: Sequence[Rectangle],
    extent: float,
) -> list[Rectangle] | None:
    """Return where the label of each path goes, beside it or on it, within so many units of width.

    Return None where one has no free place: more room between the layers gives it one.
    """
    taken = list(boxes)
    placed = []
    for path, width in zip(paths, widths, strict=True):
        for x, y in _places(path, width):
            left, right = width / 2, max(extent - width / 2, width / 2)
            found = Rectangle(min(max(x, left), right), y, width, HEIGHT)
            if not any(found.overlaps(other) for other in taken):
                break
        else:
            return None
        taken.append(found)
        placed.append(found)
    return placed


def point_on_bend(start: Point, end: Point, part: float) -> Point:
    """Return a point of a curve that is vertical at both ends."""
    left = 1 - part
    across = part**2 * (3 - 2 * part)
    y = start[1] * left**3 + 1.5 * (start[1] + end[1]) * part * left + end[1] * part**3
    return start[0] + (end[0] - start[0]) * across, y


def _places(path: tuple[Point, ...], width: float) -> Iterator[Point]:
    """Yield places for a label, those of the last bend first."""
    bends = list(pairwise(path))[::-1]
    for beside in BESIDE:
        for start, end in bends:
            for part in PARTS:
                x, y = point_on_bend(start, end, part)
                yield x + beside * width, y
