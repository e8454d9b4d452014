"""What is here of a file so far, on disk, with its hash and with what was told of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from composer.sources.hub.cache import PIECE, new_hash
from composer.sources.hub.tree import HubFile

Tell = Callable[[int], None]


class Part:
    """An unfinished download that grows at its end; one of an earlier run is gone on with.

    `told` counts the bytes that were shown as done, and `drops` how often it was begun again.
    """

    def __init__(self, place: Path, file: HubFile, tell: Tell, told: int = 0) -> None:
        self.place = place
        self.file = file
        self.tell = tell
        self.told = told
        self.size = self.drops = 0
        self.digest = new_hash(file)
        if place.is_symlink() or (place.exists() and place.stat().st_size > file.size):
            place.unlink()
        self.out = place.open("ab")
        with place.open("rb") as earlier:
            while piece := earlier.read(PIECE):
                self.digest.update(piece)
                self.size += len(piece)
        self._show()

    def add(self, chunk: bytes) -> None:
        """Write bytes at the end."""
        self.out.write(chunk)
        self.digest.update(chunk)
        self.size += len(chunk)
        self._show()

    def drop(self) -> None:
        """Begin again with nothing."""
        self.out.seek(0)
        self.out.truncate()
        self.digest, self.size = new_hash(self.file), 0
        self.drops += 1
        self._show()

    def _show(self) -> None:
        self.tell(self.size - self.told)
        self.told = self.size

    def __enter__(self) -> Part:
        return self

    def __exit__(self, *_: object) -> None:
        with self.out:
            self.out.flush()
            os.fsync(self.out.fileno())
