"""Find the sound in a CAF file, whose size a live recording leaves open."""

from __future__ import annotations

from typing import BinaryIO

from composer.formats.audio.container_parts import (
    AudioFault,
    Part,
    PartsAndFault,
    damaged_fault,
    truncated_fault,
)
from composer.formats.audio.spliced import SplicedFile

_OPEN = 2**64 - 1  # the size of sound that goes to the end of the file
_EDITS = 4  # bytes before the sound, in its chunk
_MOST = 100_000  # chunks


def find_caf_parts(file: BinaryIO, size: int) -> PartsAndFault:
    """Return the file as one part, and its fault where its sound is not whole."""
    whole = Part(SplicedFile(file, [(0, size)]), by_av="CAF")
    at, packet, has_table = 8, 0, False
    for _ in range(_MOST):
        if at + 12 > size:
            return [whole], truncated_fault("CAF", "it has no audio data")
        file.seek(at)
        head = file.read(32)
        name, length = head[:4], int.from_bytes(head[4:12], "big")
        if name == b"desc":
            packet = int.from_bytes(head[28:32], "big")
        elif name == b"pakt":
            has_table = True
        elif name == b"data" and length == _OPEN:
            if packet == 0 and not has_table:
                return [], truncated_fault("CAF", "it has no table of its packets ('pakt')")
            return _live(file, at, size, packet or 1)
        elif name == b"data":
            return [whole], _cut_fault(at + 12 + length, size)
        at += 12 + length
    return [whole], damaged_fault("CAF", f"it has more than {_MOST} parts")


def _live(file: BinaryIO, at: int, size: int, packet: int) -> PartsAndFault:
    """Return a recording with the size of its whole packets, which the decoder needs."""
    start = at + 12
    cut = max(size - start - _EDITS, 0) % packet
    stop = size - cut
    stated = (stop - start).to_bytes(8, "big")
    part = Part(SplicedFile(file, [(0, at + 4), stated, (start, stop)]), by_av="CAF")
    return [part], truncated_fault("CAF", "its last packet is cut off") if cut else None


def _cut_fault(stop: int, size: int) -> AudioFault | None:
    if stop > size:
        return truncated_fault("CAF", f"its sound ends at byte {stop}, the file at {size}")
    return None
