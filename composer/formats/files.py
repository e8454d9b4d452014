"""Find the files of a bundle and keep every path inside its source."""

from __future__ import annotations

import os
import stat
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Literal, NoReturn, Protocol

from composer.core.location import Location
from composer.formats.ranges import LocalRanges, Ranges
from composer.formats.refusal import listing, refuse, show

Kind = Literal["file", "folder", "other"]

MOST_NAMES = 20_000


class Files(Protocol):
    """What a reader needs from the place where files are.

    With `within`, `open` demands that the file is truly in that folder: no link leads out of it
    and the file has no second name.
    """

    def kind(self, location: Location) -> Kind | None: ...

    def names(self, location: Location) -> tuple[str, ...]: ...

    def open(self, location: Location, within: Location | None = None) -> Ranges: ...


class LocalFiles:
    """Files on this machine, links resolved, the Hugging Face cache layout understood."""

    def kind(self, location: Location) -> Kind | None:
        """Say what is there, or None; raise if the path leaves its source."""
        try:
            mode = os.stat(self._real(location)).st_mode
        except OSError:
            return None
        if stat.S_ISREG(mode):
            return "file"
        return "folder" if stat.S_ISDIR(mode) else "other"

    def names(self, location: Location) -> tuple[str, ...]:
        """List a folder, sorted."""
        try:
            with os.scandir(self._real(location)) as entries:
                names = [entry.name for entry in islice(entries, MOST_NAMES + 1)]
        except OSError as error:
            refuse(location, "S402", f"cannot be listed: {error.strerror}")
        if len(names) > MOST_NAMES:
            refuse(location, "S402", f"holds more than {MOST_NAMES} names")
        return tuple(sorted(names))

    def open(self, location: Location, within: Location | None = None) -> LocalRanges:
        """Open a regular file, or say what is missing and what is there instead."""
        if self.kind(location) is None:
            absent(self, location)
        ranges = LocalRanges(location, self._real(location, within))
        if within and ranges.links > 1 and not _cached(location):
            ranges.__exit__()
            refuse(
                location,
                "S451",
                f"has {ranges.links} names (hard links), so it may be a file from elsewhere",
                hint="replace it with a copy of its own",
            )
        return ranges

    def _real(self, location: Location, within: Location | None = None) -> Path:
        path = location.path
        if location.root is None or path is None:
            refuse(
                location,
                "S403",
                f"the source {show(location.source)} is not on this machine",
                hint="fetch it first, or point the source at a folder",
            )
        inside = location.inside
        if inside.startswith("/") or "\\" in inside or "\0" in inside or ".." in inside.split("/"):
            refuse(
                location,
                "S400",
                f"the path {show(inside)} may leave the source",
                hint="write it relative to the source, with / and without ..",
            )
        home = within.path if within and within.path else location.root
        real, room = _resolve(path), _resolve(home)
        if not real.is_relative_to(room) and not _cached(location):
            refuse(
                location,
                "S400",
                f"is a link that leads out of {within or location.source}",
                hint="put the file itself there",
            )
        return real


def stays_inside(path: Path) -> bool:
    """Tell whether a path is no link out of its folder, but for those of a Hugging Face cache."""
    location = Location("", path.name, path.parent)
    return _resolve(path).is_relative_to(_resolve(path.parent)) or _cached(location)


def _resolve(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _cached(location: Location) -> bool:
    """Tell whether this is a file of a Hugging Face cache: a link from snapshots/ into blobs/."""
    path, root = location.path, location.root
    if path is None or root is None or not path.is_symlink():
        return False
    home, folder = _resolve(root), _resolve(path.parent)
    if not folder.is_relative_to(home):
        return False
    for place in (home, *home.parents):
        if place.parent.name == "snapshots":
            own = place.parent.parent
            real = _resolve(path).parent
            # Newer caches share blobs between repositories, two digits of their hash to a folder.
            return real == own / "blobs" or real.parent == own.parent / "blobs"
    return False


def absent(files: Files, location: Location) -> NoReturn:
    """Refuse a location that is not there: say what is, and the nearest name."""
    here = Location(location.source, "", location.root)
    for part in filter(None, location.inside.split("/")):
        if files.kind(here) != "folder" or files.kind(here / part) is None:
            break
        here = here / part
    if files.kind(here) != "folder":
        why = "does not exist" if files.kind(here) is None else "is not a folder"
        refuse(location, "S401", f"{location} does not exist", f"{here} {why}")
    names = files.names(here)
    near = get_close_matches(part, names, n=1)
    rest = location.inside.removeprefix(here.inside).lstrip("/").removeprefix(part)
    refuse(
        location,
        "S401",
        f"{location} does not exist",
        f"{here} holds {listing(names)}",
        hint=f"did you mean {str(here / near[0]) + rest!r}?" if near else None,
    )
