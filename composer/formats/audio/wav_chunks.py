"""Find the samples of a WAV, RF64 or AIFF, even if its sizes are wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

from composer.formats.audio.joined import next_file

Order = Literal["little", "big"]

_CHUNKS = 10_000  # far more than any file has, but quick to read
_PADDING = 2**16
WRAP = 2**32  # a size that does not fit is stored without what is above


@dataclass(frozen=True)
class SampleChunk:
    """The chunk of samples: start, actual length and declared length in bytes.

    A `streamed` one has no stated length, and no byte that makes it even.
    """

    start: int
    length: int
    stated: int | None
    streamed: bool = False

    @property
    def after(self) -> int:
        """Return where the next chunk begins."""
        stop = self.start + self.length
        return stop if self.streamed else stop + stop % 2


def iter_chunks(
    file: BinaryIO, size: int, order: Order, at: int = 12
) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name, start and declared length of each chunk in the file."""
    for _ in range(_CHUNKS):
        if at + 8 > size:
            return
        file.seek(at)
        head = file.read(8)
        length = int.from_bytes(head[4:], order)
        yield head[:4], at + 8, length
        at += 8 + length + length % 2


def find_data_chunk(
    file: BinaryIO, size: int, order: Order, start: int, stated: int, long: int | None = None
) -> SampleChunk:
    """Return the samples that start at `start`, by the actual bytes.

    If a pipe left the length unknown, or a crash left it 0, they go to the end of the file, or to
    where another file was joined to it.
    If no chunk follows them, and a length above 32 bits explains that, it is theirs.
    """
    remaining = size - start
    if stated == 0xFFFFFFFF and long:
        stated = long
    elif _is_unknown_length(stated) or (stated == 0 and remaining > 0):
        return SampleChunk(start, next_file(file, start, size) - start, None, streamed=True)
    if stated < remaining and not _is_consistent(file, size, order, start + stated):
        for length in range(stated + WRAP, remaining + 1, WRAP):
            if _is_consistent(file, size, order, start + length):
                return SampleChunk(start, length, None)
        return SampleChunk(start, remaining, stated)
    return SampleChunk(start, stated, stated)


def _is_unknown_length(length: int) -> bool:
    """Recognize the sizes that ffmpeg, SoX, ALSA and mpg123 write when they cannot seek back."""
    return length >= 0xFFFFFF00 or 0x7FFFFF00 <= length <= 0x80000000 or length == 0x7FFFF000


def _is_consistent(file: BinaryIO, size: int, order: Order, at: int) -> bool:
    """Return whether chunks, a tag or padding fill a file from here to its end."""
    at += at % 2
    end = at
    for name, start, length in iter_chunks(file, size, order, at):
        if name in (b"TAG ", b"ID3 ") or name[:3] in (b"TAG", b"ID3"):
            return True
        if not name.isascii() or not name.decode().isprintable():
            break
        end = start + length + length % 2
    if size - end < 8:
        return True
    file.seek(end)
    return size - end < _PADDING and not file.read().strip(b"\0")
