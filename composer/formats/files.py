"""Find the files of a bundle and keep every path inside its source."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Literal, NoReturn, Protocol

from composer.core.location import Location
from composer.formats.byte_ranges import ByteRanges, LocalFileRanges
from composer.formats.file_problems import join_names, refuse, show

Kind = Literal["file", "folder", "other"]

MAX_ENTRIES = 20_000


class Files(Protocol):
    """Where a reader finds files: a disk, or a repository on the Hub.

    With `within`, `open` requires the file to be in that folder itself: no link leads out of it
    and the file has no second name.
    """

    def kind(self, location: Location) -> Kind | None: ...

    def names(self, location: Location) -> tuple[str, ...]: ...

    def open(self, location: Location, within: Location | None = None) -> ByteRanges: ...


class LocalFiles:
    """Files on this machine, links resolved, the Hugging Face cache layout understood."""

    def kind(self, location: Location) -> Kind | None:
        """Return the kind of a path, or None if there is none; raise if it leaves its source."""
        try:
            mode = os.stat(self._confined_path(location)).st_mode
        except OSError:
            return None
        if stat.S_ISREG(mode):
            return "file"
        if stat.S_ISDIR(mode):
            return "folder"
        return "other"

    def names(self, location: Location) -> tuple[str, ...]:
        """List a folder, sorted."""
        try:
            with os.scandir(self._confined_path(location)) as entries:
                names = [entry.name for entry in islice(entries, MAX_ENTRIES + 1)]
        except OSError as error:
            refuse(location, "S402", f"cannot be listed: {error.strerror}")
        if len(names) > MAX_ENTRIES:
            refuse(location, "S402", f"has more than {MAX_ENTRIES} names")
        return tuple(sorted(names))

    def open(self, location: Location, within: Location | None = None) -> LocalFileRanges:
        """Open a regular file, or raise with the nearest name that exists."""
        if self.kind(location) is None:
            raise_missing(self, location)
        ranges = LocalFileRanges(location, self._confined_path(location, within))
        if within and ranges.links > 1 and not _in_hf_cache(location):
            ranges.__exit__()
            refuse(
                location,
                "S451",
                f"has {ranges.links} names (hard links), so it may be a file from elsewhere",
                hint="replace it with a copy of its own",
            )
        return ranges

    def _confined_path(self, location: Location, within: Location | None = None) -> Path:
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
        folder = location.root
        if within and within.path:
            folder = within.path
        real = _resolve(path)
        if not real.is_relative_to(_resolve(folder)) and not _in_hf_cache(location):
            refuse(
                location,
                "S400",
                f"is a link that leads out of {within or location.source}",
                hint="put the file itself there",
            )
        return real


def stays_in_folder(path: Path) -> bool:
    """Return whether a path is no link out of its folder, but for those of a Hugging Face cache."""
    location = Location("", path.name, path.parent)
    return _resolve(path).is_relative_to(_resolve(path.parent)) or _in_hf_cache(location)


def _resolve(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _in_hf_cache(location: Location) -> bool:
    """Return whether this is a file of a Hugging Face cache: a link from snapshots/ into blobs/."""
    path, root = location.path, location.root
    if path is None or root is None or not path.is_symlink():
        return False
    source, folder = _resolve(root), _resolve(path.parent)
    if not folder.is_relative_to(source):
        return False
    for parent in (source, *source.parents):
        if parent.parent.name == "snapshots":
            repository = parent.parent.parent
            real = _resolve(path).parent
            # Newer caches share blobs between repositories, two digits of their hash to a folder.
            return real == repository / "blobs" or real.parent == repository.parent / "blobs"
    return False


def raise_missing(files: Files, location: Location) -> NoReturn:
    """Raise S401 for a missing location, with what its folder contains and the nearest name."""
    here = replace(location, inside="")
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
        f"{here} contains {join_names(names)}",
        hint=f"did you mean {str(here / near[0]) + rest!r}?" if near else None,
    )
