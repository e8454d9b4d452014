"""Recognize a file that was joined to another one."""

from __future__ import annotations

from typing import BinaryIO

from composer.formats.audio.container import container_of, container_of_pyav
from composer.formats.audio.container_parts import AudioFault
from composer.formats.audio.mpeg_header import parse_frame_header
from composer.formats.audio.tags import id3_end

_HEAD = 4096


def joined_fault(kind: str, file: BinaryIO, at: int, size: int) -> AudioFault | None:
    """Return the fault of a file in which another one begins at a byte, behind tags or not."""
    start = id3_end(file, at, size)
    file.seek(start)
    head = file.read(_HEAD)
    frame = parse_frame_header(head)
    found = container_of(head) or container_of_pyav(head)
    if found == "MP3" and (frame is None or parse_frame_header(head[frame.size :]) is None):
        return None
    if found in (None, "ADTS"):  # two bytes are no sign of one
        return None
    how = f"the {kind} file is joined of several: from byte {at} of {size} on it is {found}"
    return AudioFault("S489", how, "split it there, and convert each part")
