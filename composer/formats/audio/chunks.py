"""Where the samples of a WAV, RF64 or AIFF stand, whatever its sizes state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

Order = Literal["little", "big"]

_CHUNKS = 10_000  # far more than any file has, and soon walked
_PADDING = 2**16
WRAP = 2**32  # a size that does not fit is stored without what is above


@dataclass(frozen=True)
class Samples:
    """The chunk of the samples: where they start, how many bytes there are, and what is stated."""

    start: int
    length: int
    stated: int | None


def chunks(
    file: BinaryIO, size: int, order: Order, at: int = 12
) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name, start and stated length of each chunk that begins in the file."""
    for _ in range(_CHUNKS):
        if at + 8 > size:
            return
        file.seek(at)
        head = file.read(8)
        length = int.from_bytes(head[4:], order)
        yield head[:4], at + 8, length
        at += 8 + length + length % 2


def samples(
    file: BinaryIO, size: int, order: Order, start: int, stated: int, long: int | None = None
) -> Samples:
    """Return the samples that begin at `start`, by what is there.

    Where a pipe left the length unknown, or a crash left it 0, they go to the end of the file.
    Where what follows them is no chunk, and a length above 32 bits explains it, that is theirs.
    """
    rest = size - start
    if stated == 0xFFFFFFFF and long:
        stated = long
    elif _streamed(stated) or (stated == 0 and rest > 0):
        return Samples(start, rest, None)
    if stated < rest and not _ends_well(file, size, order, start + stated):
        for length in range(stated + WRAP, rest + 1, WRAP):
            if _ends_well(file, size, order, start + length):
                return Samples(start, length, None)
        return Samples(start, rest, stated)
    return Samples(start, stated, stated)


def _streamed(length: int) -> bool:
    """Tell the sizes that ffmpeg, SoX, ALSA and mpg123 write when they cannot seek back."""
    return length >= 0xFFFFFF00 or 0x7FFFFF00 <= length <= 0x80000000 or length == 0x7FFFF000


def _ends_well(file: BinaryIO, size: int, order: Order, at: int) -> bool:
    """Tell whether chunks, a tag or padding fill a file from here to its end."""
    at += at % 2
    end = at
    for name, start, length in chunks(file, size, order, at):
        if name in (b"TAG ", b"ID3 ") or name[:3] in (b"TAG", b"ID3"):
            return True
        if not name.isascii() or not name.decode().isprintable():
            break
        end = start + length + length % 2
    if size - end < 8:
        return True
    file.seek(end)
    return size - end < _PADDING and not file.read().strip(b"\0")
