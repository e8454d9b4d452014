"""Find out whether a file that PyAV decodes is whole, by the sizes that its container states."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import BinaryIO

from composer.formats.audio.adts import find_adts_parts
from composer.formats.audio.caf import find_caf_parts
from composer.formats.audio.container_parts import (
    AudioFault,
    Part,
    PartsAndFault,
    damaged_fault,
    truncated_fault,
    unsupported_fault,
)
from composer.formats.audio.joined import joined_fault
from composer.formats.audio.matroska import find_matroska_parts
from composer.formats.audio.spliced import SplicedFile

FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
AMR_FRAMES = (12, 13, 15, 17, 19, 20, 26, 31, 5)  # bytes after the first, by kind of frame
AMR_WB_FRAMES = (17, 23, 32, 36, 40, 46, 50, 58, 60, 5)
MOST = 2_000_000  # boxes, chunks or frames: more than six hours have
EMPTY_FRAMES = (14, 15)  # a lost one, and one without speech


def find_av_parts(kind: str, file: BinaryIO, size: int) -> PartsAndFault:
    """Return a file as one part, which PyAV decodes, and its fault where it is not whole."""
    fault = CHECKS[kind](file, size)
    return [Part(SplicedFile(file, [(0, size)]), by_av=kind)], fault


def _mp4(file: BinaryIO, size: int) -> AudioFault | None:
    """Follow the boxes to the end of the file."""
    at, has_index, count = 0, False, 0
    while at + 8 <= size:
        if (count := count + 1) > MOST:
            return _endless("MP4")
        file.seek(at)
        head = file.read(16)
        length, name = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length == 0:
            length = size - at
        if has_index and name == b"ftyp":
            return joined_fault("MP4", file, at, size)
        has_index |= name in (b"moov", b"moof")
        if length < 8 or at + length > size:
            how = (
                f"its box '{name.decode('latin1')}' ends at byte {at + length}, the file at {size}"
            )
            return truncated_fault("MP4", how)
        at += length
    return None if has_index else truncated_fault("MP4", "it has no index of its samples ('moov')")


def _asf(file: BinaryIO, size: int) -> AudioFault | None:
    """Compare the size that the file properties state with the file's."""
    file.seek(0)
    head = file.read(65_536)
    at = head.find(FILE_PROPERTIES)
    if at < 0:
        return truncated_fault("ASF", "it has no file properties")
    stated = int.from_bytes(head[at + 40 : at + 48], "little")
    if stated > size:
        return truncated_fault(
            "ASF", f"its header declares {stated} bytes, but the file has {size}"
        )
    return None


def _amr(file: BinaryIO, size: int) -> AudioFault | None:
    """Follow the frames to the end of the file."""
    file.seek(0)
    head = file.read(9)
    wide = head.startswith(b"#!AMR-WB\n")
    if not wide and not head.startswith(b"#!AMR\n"):
        return unsupported_fault("AMR", "several channels")
    at, sizes = (9, AMR_WB_FRAMES) if wide else (6, AMR_FRAMES)
    count = 0
    while at < size:
        if (count := count + 1) > MOST:
            return _endless("AMR")
        file.seek(at)
        kind = file.read(1)[0] >> 3 & 15
        if kind >= len(sizes) and kind not in EMPTY_FRAMES:
            return damaged_fault("AMR", f"there is no frame at byte {at}")
        at += 1 + (sizes[kind] if kind < len(sizes) else 0)
    return None if at == size else truncated_fault("AMR", "its last frame is cut off")


def _endless(kind: str) -> AudioFault:
    return damaged_fault(kind, f"it has more than {MOST} parts")


CHECKS: dict[str, Callable[[BinaryIO, int], AudioFault | None]] = {
    "MP4": _mp4,
    "ASF": _asf,
    "AMR": _amr,
}
PART_FINDERS: dict[str, Callable[[BinaryIO, int], PartsAndFault]] = {
    **{kind: partial(find_av_parts, kind) for kind in CHECKS},
    "Matroska": find_matroska_parts,
    "ADTS": find_adts_parts,
    "CAF": find_caf_parts,
}
