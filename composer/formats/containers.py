"""Tell an audio container by its first bytes, and whether the file holds all that it promises."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

READABLE = ("WAV", "RF64", "AIFF", "FLAC", "Ogg", "MP3")

_HEAD = 4096
_CHUNKS, _PAGES = 10_000, 1_000_000  # far more than any file has, and soon walked
_OTHERS = (
    (rb"....ftyp", "an MP4/M4A file"),
    (rb"\x1aE\xdf\xa3", "a WebM/Matroska file"),
    (rb"#!AMR", "an AMR file"),
    (rb"caff", "a CAF file"),
    (rb"\.snd", "an AU file"),
    (rb"riff\x2e\x91\xcf\x11", "a Wave64 file"),
    (rb"\x30\x26\xb2\x75", "a WMA/ASF file"),
    (rb"RIFF....(?!WAVE)", "a RIFF file that is no WAV"),
    (rb"\xff[\xf0\xf1\xf8\xf9]", "a raw AAC stream"),
    (rb"\x89PNG", "a PNG image"),
    (rb"\xff\xd8\xff", "a JPEG image"),
    (rb"GIF8", "a GIF image"),
    (rb"PK\x03\x04", "a zip archive"),
    (rb"\x1f\x8b", "a gzip archive"),
    (rb"%PDF", "a PDF document"),
    (rb"#EXTM3U|ffconcat", "a playlist"),
    (rb"version https://git-lfs", "a Git LFS pointer"),
    (rb"(?i)\s*(<!doctype|<html|<\?xml)", "a web page"),
)
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_KNOWN = tuple((re.compile(pattern, re.DOTALL), name) for pattern, name in _OTHERS)


def container(head: bytes) -> str | None:
    """Return which of READABLE a file is by its first bytes, or None."""
    if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
        return "WAV" if head[:4] == b"RIFF" else "RF64"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "AIFF"
    if head[:4] == b"fLaC":
        return "FLAC"
    if head[:4] == b"OggS":
        return "Ogg"
    return "MP3" if head[:3] == b"ID3" or _is_mpeg_frame(head) else None


def describe(head: bytes) -> str:
    """Say what a file that is no readable audio is."""
    for pattern, name in _KNOWN:
        if pattern.match(head):
            return name
    try:
        head.decode("utf-8", errors="strict" if len(head) < _HEAD else "ignore")
    except UnicodeDecodeError:
        return f"unknown: it starts with {head[:4].hex(' ')}"
    printable = not re.search(rb"[\x00-\x08\x0e-\x1f]", head)
    return "text" if printable else f"unknown: it starts with {head[:4].hex(' ')}"


def missing(file: BinaryIO, kind: str, size: int) -> str | None:
    """Say what of a file of `size` bytes was cut off, as far as its container tells.

    WAV, RF64 and AIFF name the bytes of their samples, an Ogg stream marks its last page, and an
    MP3 names its bytes where its encoder wrote a Xing or Info header. A FLAC names its frames,
    which are counted when it is decoded. What was streamed with no size is read to its end, and a
    cut MP3 without that header, or a FLAC of unknown length, cannot be told from a whole one.
    """
    if kind in ("WAV", "RF64", "AIFF"):
        chunk = data_chunk(file, kind, size)
        if chunk is None:
            return "it holds no audio data"
        start, promised = chunk
        if promised is not None and start + promised > size:
            return f"its header promises {promised} bytes of samples, and {size - start} are there"
    if kind == "Ogg":
        return _missing_ogg(file, size)
    if kind == "MP3":
        return _missing_mp3(file, size)
    return None


def data_chunk(file: BinaryIO, kind: str, size: int) -> tuple[int, int | None] | None:
    """Return where the samples of a WAV, RF64 or AIFF start and how many bytes they are.

    The second is None where the writer did not know it, as when it wrote to a pipe. Return None
    when there is no such chunk.
    """
    long = None
    for name, start, length in _chunks(file, ">" if kind == "AIFF" else "<", size):
        if name == b"ds64":
            file.seek(start + 8)
            long = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))[0]
        if name in (b"data", b"SSND"):
            if length == 0xFFFFFFFF and long:
                return start, long
            unknown = _streamed(length) or (length == 0 and start < size)
            return start, None if unknown else length
    return None


def _chunks(file: BinaryIO, order: str, size: int) -> Iterator[tuple[bytes, int, int]]:
    at = 12
    for _ in range(_CHUNKS):
        if at + 8 > size:
            return
        file.seek(at)
        name, length = struct.unpack(f"{order}4sI", file.read(8))
        yield name, at + 8, length
        at += 8 + length + length % 2


def _streamed(length: int) -> bool:
    """Tell the sizes that ffmpeg, SoX, ALSA and mpg123 write when they cannot seek back."""
    return length >= 0xFFFFFF00 or 0x7FFFFF00 <= length <= 0x80000000 or length == 0x7FFFF000


def _missing_ogg(file: BinaryIO, size: int) -> str | None:
    tail = min(size, 2 * 65307)  # a page is at most 65307 bytes
    file.seek(size - tail)
    data = file.read(tail)
    at = data.rfind(b"OggS")
    page = data[at:]
    if at < 0 or len(page) < 27 or len(page) < 27 + page[26]:
        return "its last Ogg page is cut off"
    if len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]]):
        return "its last Ogg page is cut off"
    return None if page[5] & 4 else "the page that ends an Ogg stream is missing"


def damage(file: BinaryIO, kind: str, size: int) -> str | None:
    """Say which page of an Ogg stream is broken: its decoder would leave it out and say nothing."""
    at, number, places = 0, 0, dict[bytes, int]()
    while kind == "Ogg" and at < size:
        if number == _PAGES:
            return f"it has more than {_PAGES} pages"
        file.seek(at)
        head = file.read(27)
        if head[:4] != b"OggS":
            return f"there is no page at byte {at}" if _holds(file, b"OggS") else None
        lengths = file.read(head[26])
        body = file.read(sum(lengths))
        serial, place, stored = head[14:18], *struct.unpack("<II", head[18:26])
        if stored != _ogg_checksum(head[:22] + bytes(4) + head[26:] + lengths + body):
            return f"page {number}, at byte {at}, does not match its checksum"
        if place != places.get(serial, place - 1) + 1:
            return f"pages are missing before byte {at}"
        places[serial] = place
        at, number = at + 27 + len(lengths) + len(body), number + 1
    return None


def _holds(file: BinaryIO, mark: bytes) -> bool:
    """Tell whether the rest of a file holds some bytes, a block at a time."""
    before = b""
    while block := file.read(1 << 20):
        if mark in before + block:
            return True
        before = block[1 - len(mark) :]
    return False


def _ogg_checksum(page: bytes) -> int:
    """Return the CRC-32 of Ogg (RFC 3533): zlib's, with bits mirrored and nothing inverted."""
    mirrored = zlib.crc32(page.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)


def _is_mpeg_frame(head: bytes) -> bool:
    return (
        len(head) >= 4
        and head[0] == 0xFF
        and head[1] & 0xE0 == 0xE0
        and head[1] & 0x18 != 0x08  # a reserved version
        and head[1] & 0x06 != 0x00  # a reserved layer, as AAC has
        and head[2] & 0xF0 not in (0x00, 0xF0)
        and head[2] & 0x0C != 0x0C
    )


def _missing_mp3(file: BinaryIO, size: int) -> str | None:
    file.seek(0)
    head = file.read(10)
    start = 0
    if head[:3] == b"ID3" and len(head) == 10:
        length = 0
        for byte in head[6:10]:
            length = length << 7 | byte & 0x7F
        start = 10 + length
        if start >= size:
            return "the file ends inside its ID3 tag"
    file.seek(start)
    frame = file.read(256)
    at = max(frame.find(b"Xing"), frame.find(b"Info"))
    if at < 0 or len(frame) < at + 16:
        return None
    flags, *fields = struct.unpack(">III", frame[at + 4 : at + 16])
    if not flags & 2:
        return None
    promised = fields[flags & 1]
    if start + promised > size:
        return f"its header promises {promised} bytes of frames, and {size - start} are there"
    return None
