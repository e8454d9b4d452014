"""Find out whether a file has all pixels that its header claims, where decoders fill them up."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
         (0, 1, 1, 2))  # fmt: skip
BLOCK = 2**20
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
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
    at = 8
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IDAT":
            yield data[at + 8 : at + 8 + length]
        at += 12 + length


def with_filler_before_end(data: bytes) -> bytes:
    """Return a JPEG with bytes before its end that no whole picture needs.

    libjpeg fills up what is missing before the end marker with grey, without an error. A picture
    that looks otherwise with more bytes there is not whole. Raise ValueError if it has no end.
    """
    at = 2
    while True:
        found = _MARKER.search(data, at)
        if found is None:
            raise ValueError("it has no end marker")
        at = found.start()
        if data[at + 1] == 0xD9:
            return data[:at] + _FILL + data[at:]
        if at + 4 > len(data):
            raise ValueError("it has no end marker")
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
