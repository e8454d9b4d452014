"""Tags before and after the audio of a file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

_BLOCK = 1 << 20


def audio_range(file: BinaryIO, size: int) -> tuple[int, int]:
    """Return where the audio starts and ends between an ID3v2 and an ID3v1 or APE tag."""
    start, stop = id3_end(file, 0, size), size
    if stop - start >= 128 and _at(file, stop - 128, 3) == b"TAG":
        stop -= 128
    footer = _at(file, stop - 32, 32) if stop - start >= 32 else b""
    if footer[:8] == b"APETAGEX":
        stop = max(start, stop - int.from_bytes(footer[12:16], "little"))
        if _at(file, max(start, stop - 32), 8) == b"APETAGEX":
            stop -= 32
    return start, stop


def id3_end(file: BinaryIO, at: int, size: int) -> int:
    """Return the end of ID3v2 tags at a position, or the position itself."""
    while (head := _at(file, at, 10))[:3] == b"ID3" and len(head) == 10:
        length = 0
        for byte in head[6:10]:
            length = length << 7 | byte & 0x7F
        at += 10 + length
        if at >= size:
            break
    return at


def find_all(file: BinaryIO, mark: bytes, start: int, stop: int) -> Iterator[int]:
    """Yield the positions of a byte pattern in a range, reading block by block."""
    at, before = start, b""
    file.seek(start)
    while at < stop and (block := file.read(min(_BLOCK, stop - at))):
        data, base = before + block, at - len(before)
        place = data.find(mark)
        while place >= 0:
            yield base + place
            place = data.find(mark, place + 1)
        at += len(block)
        before = data[1 - len(mark) :]
        file.seek(at)


def _at(file: BinaryIO, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(count)
