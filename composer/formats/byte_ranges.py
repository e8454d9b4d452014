"""Read byte ranges of one file, here from a disk; elsewhere it may be from the network."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Protocol

from composer.core.location import Location
from composer.formats.file_problems import refuse


class ByteRanges(Protocol):
    """The bytes of one open file: `read` returns exactly `n` of them or raises ComposerError."""

    @property
    def size(self) -> int: ...

    def read(self, offset: int, n: int) -> bytes: ...

    def __enter__(self) -> ByteRanges: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class LocalFileRanges:
    """Read a regular file, opened once so that what is checked is what was opened."""

    def __init__(self, location: Location, path: Path) -> None:
        self.location = location
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        try:
            self.fd = os.open(path, flags)
        except OSError as error:
            refuse(location, "S402", f"cannot be opened: {error.strerror}")
        status = os.fstat(self.fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(self.fd)
            refuse(location, "S402", f"is {describe_file_mode(status.st_mode)}, not a regular file")
        self.size = status.st_size
        self.state = _state_of(status)
        self.links = status.st_nlink

    def read(self, offset: int, n: int) -> bytes:
        pieces: list[bytes] = []
        while n > 0:
            try:
                os.lseek(self.fd, offset, os.SEEK_SET)
                piece = os.read(self.fd, n)
            except OSError as error:
                refuse(self.location, "S402", f"cannot be read: {error.strerror}")
            if not piece:
                refuse(self.location, "S409", "became shorter while it was being read")
            pieces.append(piece)
            offset, n = offset + len(piece), n - len(piece)
        return b"".join(pieces)

    def __enter__(self) -> LocalFileRanges:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)


def _state_of(status: os.stat_result) -> tuple[int, ...]:
    """Return a stamp that changes when a file does; its change time cannot be set back."""
    return (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev)


def describe_file_mode(mode: int) -> str:
    """Describe a file's kind for a message."""
    if stat.S_ISDIR(mode):
        return "a folder"
    if stat.S_ISFIFO(mode):
        return "a named pipe"
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        return "a device"
    if stat.S_ISSOCK(mode):
        return "a socket"
    return "a special file"
