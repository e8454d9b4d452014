"""Read a picture's container, size and depth from its first bytes, before anything decodes it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

READABLE = ("PNG", "JPEG", "WebP", "GIF", "BMP")
OTHERS = (
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"\0\0\1\0", "ICO"),
    (b"8BPS", "Photoshop"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"%PDF", "PDF"),
    (b"<svg", "SVG"),
    (b"<?xml", "XML, perhaps SVG"),
)
BRANDS = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"avif": "AVIF", b"avis": "AVIF"}
FRAME_HEADERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
ALONE = {0x01, *range(0xD0, 0xD9)}


@dataclass(frozen=True)
class Header:
    """What a file claims: container, width, height, and bits of one channel of a pixel."""

    container: str
    width: int
    height: int
    bits: int = 8


def read_header(data: bytes) -> Header | None:
    """Return the header of a picture, None if it is of no readable container.

    Raise ValueError if its header is incomplete or contradicts itself.
    """
    for start, read in READERS.items():
        if data.startswith(start) and (start != b"RIFF" or data[8:12] == b"WEBP"):
            try:
                return read(data)
            except (struct.error, IndexError):
                raise ValueError("its header is incomplete") from None
    return None


def describe(data: bytes) -> str:
    """Return what a file is that is no readable picture."""
    for start, name in OTHERS:
        if data.startswith(start):
            return name
    if data[4:8] == b"ftyp":
        return BRANDS.get(data[8:12], "a film")
    return "none that is known"


def _png(data: bytes) -> Header:
    width, height, bits = struct.unpack_from(">IIB", data, 16)
    if data[12:16] != b"IHDR":
        raise ValueError("it does not begin with an IHDR chunk")
    return Header("PNG", width, height, bits)


def _jpeg(data: bytes) -> Header:
    at = 2
    while True:
        if data[at] != 0xFF:
            raise ValueError("there is no marker where one must be")
        while data[at] == 0xFF:
            at += 1
        marker = data[at]
        at += 1
        if marker in ALONE:
            continue
        if marker in FRAME_HEADERS:
            bits, height, width = struct.unpack_from(">BHH", data, at + 2)
            return Header("JPEG", width, height, bits)
        if marker in (0xD9, 0xDA):
            raise ValueError("it has no frame header")
        at += struct.unpack_from(">H", data, at)[0]


def _gif(data: bytes) -> Header:
    return Header("GIF", *struct.unpack_from("<HH", data, 6))


def _bmp(data: bytes) -> Header:
    size = struct.unpack_from("<I", data, 14)[0]
    width, height = struct.unpack_from("<HH" if size == 12 else "<ii", data, 18)
    if width < 0:
        raise ValueError(f"it is {width} pixels wide")
    return Header("BMP", width, abs(height))


def _webp(data: bytes) -> Header:
    kind = data[12:16]
    if kind == b"VP8X":
        parts = [int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27)]
    elif kind == b"VP8L":
        packed = struct.unpack_from("<I", data, 21)[0]
        parts = [(packed & 0x3FFF) + 1, ((packed >> 14) & 0x3FFF) + 1]
    elif kind == b"VP8 ":
        parts = [side & 0x3FFF for side in struct.unpack_from("<HH", data, 26)]
    else:
        raise ValueError(f"its first chunk is {kind!r}")
    return Header("WebP", *parts)


READERS: dict[bytes, Callable[[bytes], Header]] = {
    b"\x89PNG\r\n\x1a\n": _png,
    b"\xff\xd8\xff": _jpeg,
    b"GIF87a": _gif,
    b"GIF89a": _gif,
    b"BM": _bmp,
    b"RIFF": _webp,
}
