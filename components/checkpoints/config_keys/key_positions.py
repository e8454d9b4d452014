"""Give problems of a config the place of their keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from composer.core.errors import Place, Problem
from composer.core.problems import Problems
from composer.formats.json_positions import key_position

if TYPE_CHECKING:
    from composer.core.location import Location
    from composer.formats import Headers

Placed = tuple[tuple[str, ...], Problem]


def with_place(problems: Iterable[Problem], place: Place) -> Problems:
    """Give problems this place that have none of their own."""
    placed = Problems()
    for problem in problems:
        placed.append(problem if problem.place else replace(problem, place=place))
    return placed


def with_key_positions(
    file: Location, headers: Headers, found: Iterable[Placed], inside: tuple[str, ...] = ()
) -> Iterator[Problem]:
    """Give each problem the line and the column of its key, whose path begins with `inside`."""
    placed = list(found)
    if not placed:
        return
    if not file.inside.endswith(".json"):
        yield from (replace(problem, place=Place(str(file))) for _, problem in placed)
        return
    with headers.files.open(file) as ranges:
        text = ranges.read(0, ranges.size).decode()
    for path, problem in placed:
        line, column = _nearest_key_position(text, inside, path)
        yield replace(problem, place=Place(str(file), line, column))


def _nearest_key_position(
    text: str, inside: tuple[str, ...], path: tuple[str, ...]
) -> tuple[Any, Any]:
    """Return where a key stands, beside what it would stand in too, or else what it would."""
    places = [(*inside, *path), (*inside, *path[-1:])]
    for length in range(len(places[0]) - 1, 0, -1):
        places.append(places[0][:length])
    for place in places:
        if found := key_position(text, place):
            return found
    return None, None
