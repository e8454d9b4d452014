"""Find the streams of a FLAC file: one, or several that were joined."""

from __future__ import annotations

from typing import BinaryIO

from composer.formats.audio.container_parts import FrameCount, Part, PartsAndFault, truncated_fault
from composer.formats.audio.spliced import SplicedFile
from composer.formats.audio.tags import audio_range, find_all

_STARTS = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")  # STREAMINFO, of 34 bytes, comes first


def find_flac_parts(file: BinaryIO, size: int) -> PartsAndFault:
    """Return the streams of a FLAC, each decoded to its end, whatever its declared length."""
    first, last = audio_range(file, size)
    found: list[int] = []
    for mark in _STARTS:
        found.extend(find_all(file, mark, first, last))
    starts = sorted(found)
    if starts[:1] != [first]:
        return [], truncated_fault("FLAC", "it ends inside its header")
    parts: list[Part] = []
    for start, stop in zip(starts, [*starts[1:], last], strict=True):
        file.seek(start)
        head = file.read(26)
        if len(head) < 26:
            return parts, truncated_fault("FLAC", "it ends inside its header")
        total = int.from_bytes(head[21:26], "big") & 0xF_FFFF_FFFF
        unknown = head[:21] + bytes([head[21] & 0xF0]) + bytes(4)
        spliced = SplicedFile(file, [unknown, (start + 26, stop)])
        parts.append(Part(spliced, FrameCount(total) if total else None))
    return parts, None
