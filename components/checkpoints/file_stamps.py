"""Compare files, when they are loaded, with what they were when they were checked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from composer.core.component import Facts
from composer.core.errors import ComposerError, Problem
from composer.core.location import Location
from composer.formats import LocalFiles


@dataclass(frozen=True, slots=True)
class FileStamp:
    """A file's size in bytes, and all that changes when it is written or another takes its name."""

    location: Location
    size: int
    state: tuple[int, ...]


@dataclass(frozen=True)
class StampedFacts(Facts):
    """Facts with the stamps of the files that they were read from."""

    stamps: tuple[FileStamp, ...] = ()

    def require_unchanged(self) -> None:
        """Raise R530 if a stamped file is no longer the one that was checked."""
        require_unchanged(self)


def stamp_files(locations: Iterable[Location]) -> tuple[FileStamp, ...]:
    """Stamp the files that are on this machine; others are checked again once they are."""
    return tuple(_stamp_file(place) for place in locations if place.path and place.path.exists())


def _stamp_file(location: Location) -> FileStamp:
    """Stamp a file, opened as its header was: a link out of its source is refused."""
    with LocalFiles().open(location) as ranges:
        return FileStamp(location, ranges.size, ranges.state)


def require_unchanged(facts: Facts) -> None:
    """Raise R530 if a stamped file is no longer the one that was checked.

    Parsers of weights open files by path, so that this must stand directly before them.
    """
    assert isinstance(facts, StampedFacts)
    for before in facts.stamps:
        now = _stamp_file(before.location)
        if now != before:
            what = "it was written again"
            if before.size != now.size:
                what = f"it had {before.size} bytes, now {now.size}"
            raise ComposerError(
                Problem(
                    "R530",
                    f"{before.location}: changed after it was checked",
                    causes=(what,),
                    hint="load the bundle again",
                )
            )
