"""A partial download on disk, with its hash and its reported progress."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from composer.sources.hub.cache import PIECE, new_hash
from composer.sources.hub.tree import HubFile

OnBytes = Callable[[int], None]


class PartialDownload:
    """An unfinished download that grows at its end; an earlier run's is continued.

    `reported` counts the bytes shown as done, and `restarts` how often it began again.
    """

    def __init__(self, path: Path, file: HubFile, on_bytes: OnBytes, reported: int = 0) -> None:
        self.path = path
        self.file = file
        self.on_bytes = on_bytes
        self.reported = reported
        self.size = self.restarts = 0
        self.digest = new_hash(file)
        if path.is_symlink() or (path.exists() and path.stat().st_size > file.size):
            path.unlink()
        self.file_out = path.open("ab")
        with path.open("rb") as earlier:
            while piece := earlier.read(PIECE):
                self.digest.update(piece)
                self.size += len(piece)
        self._report()

    def add(self, chunk: bytes) -> None:
        """Write bytes at the end."""
        self.file_out.write(chunk)
        self.digest.update(chunk)
        self.size += len(chunk)
        self._report()

    def restart(self) -> None:
        """Start again from nothing."""
        self.file_out.seek(0)
        self.file_out.truncate()
        self.digest, self.size = new_hash(self.file), 0
        self.restarts += 1
        self._report()

    def _report(self) -> None:
        self.on_bytes(self.size - self.reported)
        self.reported = self.size

    def __enter__(self) -> PartialDownload:
        return self

    def __exit__(self, *_: object) -> None:
        with self.file_out:
            self.file_out.flush()
            os.fsync(self.file_out.fileno())
