"""Recognize a file that was joined to another one."""

from __future__ import annotations

import re
from typing import BinaryIO

from composer.formats.audio.container import container_of, container_of_pyav
from composer.formats.audio.container_parts import AudioFault
from composer.formats.audio.mpeg_header import parse_frame_header
from composer.formats.audio.tags import id3_end

_HEAD = 4096
_START = re.compile(
    rb"RIFF....WAVE|RF64....WAVE|FORM....AIF[FC]|caff\x00\x01\x00\x00desc|fLaC[\x00\x80]\x00\x00\x22|OggS\x00\x02\x00{8}|"
    rb"\x00\x00\x00.ftyp[ -~]{4}\x00|\x1aE\xdf\xa3[\x01\x80-\xff].{0,7}?\x42[\x82\x86\xf2\xf3\xf7]|"
    rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11|#!AMR(?:-WB)?\x0a|ID3[\x02-\x04]\x00.[\x00-\x7f]{4}[A-Z][A-Z0-9]{2}",
    re.DOTALL,
)  # eight bytes and more, which samples do not have by chance
# What is in each of them, and quick to look for.
_SIGNS = (
    b"RIFF", b"RF64", b"FORM", b"caff", b"fLaC", b"OggS", b"ftyp", b"\x1aE\xdf\xa3",
    b"\x30\x26\xb2\x75", b"#!AMR", b"ID3",
)  # fmt: skip
_LONGEST = 32
_BLOCK = 1 << 20
_MOST = 1 << 31  # bytes that are searched, ten seconds: more than six hours at 16 kHz have


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


def next_file(file: BinaryIO, at: int, size: int) -> int:
    """Return where another audio file begins among samples of unknown length, or the end."""
    before = b""
    for start in range(at, min(size, at + _MOST), _BLOCK):
        file.seek(start)
        data = before + file.read(_BLOCK)
        starts = _START.finditer(data) if any(sign in data for sign in _SIGNS) else ()
        for found in starts:
            place = start - len(before) + found.start()
            if joined_fault("", file, place, size):
                return place
        before = data[-_LONGEST:]
    return size
