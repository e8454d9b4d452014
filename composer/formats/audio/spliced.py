"""A file for a decoder, spliced from bytes and ranges of another file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, BinaryIO


@dataclass
class SplicedFile:
    """A file for soundfile that is made of bytes and of (start, stop) ranges of another."""

    file: BinaryIO
    pieces: list[bytes | tuple[int, int]]
    at: int = 0
    starts: list[int] = field(init=False)
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.starts, self.size = [], 0
        for piece in self.pieces:
            self.starts.append(self.size)
            self.size += len(piece) if isinstance(piece, bytes) else piece[1] - piece[0]

    def read(self, count: int = -1) -> bytes:
        """Return the next bytes, fewer only at the end."""
        stop = self.size if count < 0 else min(self.size, self.at + count)
        found = []
        for start, piece in zip(self.starts, self.pieces, strict=True):
            if start >= stop:
                break
            first, last = self.at - start, stop - start
            if isinstance(piece, bytes):
                data = piece[first:last]
            else:
                last = min(last, piece[1] - piece[0])
                if first >= last:
                    continue
                self.file.seek(piece[0] + first)
                data = self.file.read(last - first)
            found.append(data)
            self.at += len(data)
        return b"".join(found)

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; return how many bytes there were."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Seek to a position; return it."""
        base = (0, self.at, self.size)[whence]
        self.at = max(0, base + offset)
        return self.at

    def tell(self) -> int:
        """Return the position."""
        return self.at
