"""Find out whether a WebM or Matroska file is whole, a live recording by its last block."""

from __future__ import annotations

from typing import BinaryIO

from composer.formats.audio.container_parts import (
    AudioFault,
    Part,
    PartsAndFault,
    damaged_fault,
    truncated_fault,
)
from composer.formats.audio.joined import joined_fault
from composer.formats.audio.spliced import SplicedFile

_FILE = b"\x1a\x45\xdf\xa3"
_SEGMENT = b"\x18\x53\x80\x67"
_CLUSTER = b"\x1f\x43\xb6\x75"
_MOST = 2_000_000  # elements: more than six hours have
_HEAD = 12  # bytes of an element's name and size at most


def find_matroska_parts(file: BinaryIO, size: int) -> PartsAndFault:
    """Return the file as one part, and its fault where it is not whole."""
    file.seek(0)
    at = file.read(4096).find(_SEGMENT)
    file.seek(max(at, 0))
    found = _element(file.read(_HEAD)) if at >= 0 else None
    if found is None:
        return [_part(file, size)], truncated_fault("Matroska", "it has no segment")
    _, start, length = found
    if length is None:
        stop, fault = _follow(file, at + start, size)
    else:
        stop = at + start + length
        fault = joined_fault("Matroska", file, stop, size)
        if stop > size:
            how = f"its segment ends at byte {stop}, the file at {size}"
            fault = truncated_fault("Matroska", how)
    return [_part(file, min(stop, size))], fault


def _follow(file: BinaryIO, at: int, size: int) -> tuple[int, AudioFault | None]:
    """Follow the blocks of a live recording; return where it ends, and its fault."""
    for _ in range(_MOST):
        if at >= size:
            how = f"its last block ends at byte {at}, the file at {size}"
            return at, truncated_fault("Matroska", how) if at > size else None
        file.seek(at)
        head = file.read(_HEAD)
        found = _element(head)
        if found is None and len(head) < _HEAD:
            return size, truncated_fault("Matroska", f"its block at byte {at} is cut off")
        if found is None:
            return size, damaged_fault("Matroska", f"there is no block at byte {at}")
        name, start, length = found
        if name == _FILE:
            return at, joined_fault("Matroska", file, at, size)
        at += start
        if name not in (_SEGMENT, _CLUSTER):  # into these
            if length is None:
                return size, damaged_fault(
                    "Matroska", f"the size of its block at {at} is not there"
                )
            at += length
    return size, damaged_fault("Matroska", f"it has more than {_MOST} blocks")


def _element(head: bytes) -> tuple[bytes, int, int | None] | None:
    """Return an element's name, the bytes before its contents, and their length; None if open."""
    width = _width(head, 0)
    wide = _width(head, width)
    stop = width + wide
    if not 0 < width <= 4 or not wide or len(head) < stop:
        return None
    most = (1 << 7 * wide) - 1
    length = int.from_bytes(head[width:stop], "big") & most
    return head[:width], stop, None if length == most else length


def _width(head: bytes, at: int) -> int:
    """Return the bytes of a number by the zeros that it starts with; 0 where there is none."""
    if len(head) <= at or not head[at]:
        return 0
    return 9 - head[at].bit_length()


def _part(file: BinaryIO, stop: int) -> Part:
    return Part(SplicedFile(file, [(0, stop)]), by_av="Matroska")
