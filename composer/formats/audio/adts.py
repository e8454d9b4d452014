"""Find the stretches of a raw AAC stream (ADTS) that have one rate and as many channels."""

from __future__ import annotations

from itertools import pairwise
from typing import BinaryIO

from composer.formats.audio.container_parts import (
    AudioFault,
    Part,
    PartsAndFault,
    damaged_fault,
    truncated_fault,
)
from composer.formats.audio.spliced import SplicedFile

_MOST = 2_000_000  # frames: more than six hours have
_MOST_PARTS = 1_000


def find_adts_parts(file: BinaryIO, size: int) -> PartsAndFault:
    """Return a part for each stretch, and the fault of the file where it is not whole."""
    starts: list[int] = []
    fault = _follow(file, size, starts)
    parts = []
    for start, stop in pairwise([*starts, size]):
        parts.append(Part(SplicedFile(file, [(start, stop)]), by_av="ADTS"))
    return parts, fault


def _follow(file: BinaryIO, size: int, starts: list[int]) -> AudioFault | None:
    """Follow the frames to the end of the file, and note where another stretch starts."""
    at = count = 0
    before = None
    while at + 7 <= size:
        if (count := count + 1) > _MOST or len(starts) > _MOST_PARTS:
            return damaged_fault("ADTS", f"it has more than {_MOST} frames or {_MOST_PARTS} parts")
        file.seek(at)
        head = file.read(7)
        length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
        if head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or length < 7:
            return damaged_fault("ADTS", f"there is no frame at byte {at}")
        form = (head[2] >> 2 & 15, head[2] & 1, head[3] >> 6)  # the rate, and the channels
        if form != before:
            starts.append(at)
            before = form
        at += length
    return None if at == size else truncated_fault("ADTS", "its last frame is cut off")
