"""Find out whether a file has all pixels that its header claims, where decoders fill them up."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
         (0, 1, 1, 2))  # fmt: skip
BLOCK = 2**20
GIF_EXTENSION, GIF_PICTURE, GIF_END = 0x21, 0x2C, 0x3B
_FILL = bytes(range(1, 97))


def require_whole_png(data: bytes) -> None:
    """Raise ValueError unless the compressed rows are as many as the header claims.

    Pillow leaves rows black that are missing from a stream which ends properly.
    """
    width, height, bits, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    if colour not in CHANNELS:
        raise ValueError(f"there is no colour type {colour}")
    needed, found = 0, 0
    for x, y, across, down in ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - x) // across), -(-(height - y) // down)
        if columns > 0 and rows > 0:
            needed += rows * (1 + (columns * CHANNELS[colour] * bits + 7) // 8)
    stream = zlib.decompressobj()
    try:
        for part in _image_data(data):
            while part and found < needed:
                found += len(stream.decompress(part, BLOCK))
                part = stream.unconsumed_tail
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if found < needed:
        raise ValueError(f"its rows have {found} bytes where its header needs {needed}")


def _image_data(data: bytes) -> Iterator[bytes]:
    """Yield the compressed parts; raise ValueError unless the chunks lead to a whole last one."""
    at = 8
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IDAT":
            yield data[at + 8 : at + 8 + length]
        at += 12 + length
        if kind == b"IEND" and at <= len(data):
            return
    raise ValueError("it ends before its last chunk does")


def require_whole_gif(data: bytes) -> None:
    """Raise ValueError unless the blocks of a GIF lead to its end."""
    at = 13 + _gif_colours(data[10])
    while data[at] != GIF_END:
        if data[at] == GIF_PICTURE:
            at += 10 + _gif_colours(data[at + 9]) + 1
        elif data[at] == GIF_EXTENSION:
            at += 2
        else:
            raise ValueError(f"a block of it begins with {data[at]:#04x}")
        while data[at]:
            at += 1 + data[at]
        at += 1


def _gif_colours(packed: int) -> int:
    """Return how many bytes a table of colours takes, by the byte before it."""
    return 3 * (2 << (packed & 7)) if packed & 0x80 else 0


def with_bytes_inserted(data: bytes, end: int) -> bytes:
    """Return a JPEG with bytes before its end marker, at `end`, that no whole picture needs.

    libjpeg fills up what is missing there with grey, without an error. A picture that looks
    otherwise with more bytes is not whole.
    """
    return data[:end] + _FILL + data[end:]
