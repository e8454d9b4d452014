"""Find the streams of an Ogg file, checking each page."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import BinaryIO

from composer.formats.audio.container_parts import (
    AudioFault,
    FrameCount,
    Part,
    PartsAndFault,
    damaged_fault,
    truncated_fault,
    unsupported_fault,
)
from composer.formats.audio.joined import joined_fault
from composer.formats.audio.opus import RATE, packet_samples, page_packets
from composer.formats.audio.spliced import SplicedFile
from composer.formats.audio.tags import find_all

PAGES = 2_000_000  # far more than any file has, but quick to read
_ENDLESS = 2**62  # a decoder that does not know where a stream ends reads all of it
_BLOCK = 8192  # what the last packet of Vorbis has at most
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_READ = {b"\x01vorbis": "Vorbis", b"OpusHead": "Opus"}
_NAMES = {
    b"\x7fFLAC": "FLAC",
    b"fLaC": "FLAC",
    b"Speex   ": "Speex",
    b"fishead\0": "a Skeleton",
    b"\x80theora": "Theora video",
    b"\x80daala": "Daala video",
    b"BBCD\0": "Dirac video",
    b"OVP80": "VP8 video",
    b"\x01video": "OGM video",
    b"\x01audio": "OGM audio",
    b"CELT    ": "CELT",
    b"PCM     ": "OggPCM",
    b"\x80kate": "Kate text",
    b"CMML": "CMML text",
}


@dataclass
class _Stream:
    """A logical stream: the positions of its pages, and its declared length."""

    codec: str
    head: bytes
    start: int
    stop: int = 0
    last: int = 0  # where its last page that ends a packet starts
    granule: int = 0
    packet_samples: int = 0  # samples of its packets, where they tell (Opus)
    last_page_samples: int = 0  # of them, those of its last page
    ended: bool = False


def find_ogg_parts(file: BinaryIO, size: int) -> PartsAndFault:
    """Return the streams of an Ogg, as far as they are complete and supported."""
    streams: list[_Stream] = []
    fault = _read_pages(file, size, streams)
    if streams and fault is None and not streams[-1].ended:
        fault = truncated_fault("Ogg", "the page that ends an Ogg stream is missing")
    for stream in streams:
        minimum = stream.packet_samples - stream.last_page_samples
        if stream.codec == "Opus" and stream.granule < minimum:
            how = f"its pages declare {stream.granule} samples, but have at least {minimum}"
            fault = fault or truncated_fault("Ogg", how)
    for one, other in pairwise(streams):
        if other.start < one.stop:
            return [], unsupported_fault("Ogg", "several streams at once")
    return [_part(file, stream) for stream in streams if stream.granule], fault


def _read_pages(file: BinaryIO, size: int, streams: list[_Stream]) -> AudioFault | None:
    """Collect the streams; return the fault of a page, which a decoder would skip."""
    current: dict[bytes, tuple[_Stream, int]] = {}
    for number, (at, page) in enumerate(_pages(file, size)):
        if number == PAGES:
            return damaged_fault("Ogg", f"it has more than {PAGES} pages")
        if page[:4] != b"OggS":
            more = next(find_all(file, b"OggS", at, size), None)
            if more is None:
                return joined_fault("Ogg", file, at, size)
            return damaged_fault("Ogg", f"there is no page at byte {at}")
        if len(page) < 27 or len(page) < 27 + page[26] + sum(page[27 : 27 + page[26]]):
            return truncated_fault("Ogg", "its last Ogg page is cut off")
        serial, place, stored = page[14:18], *struct.unpack("<II", page[18:26])
        if stored != checksum(page):
            how = f"page {number}, at byte {at}, does not match its checksum"
            return damaged_fault("Ogg", how)
        body = page[27 + page[26] :]
        if page[5] & 2:
            codec = next((name for mark, name in _READ.items() if body.startswith(mark)), None)
            if codec is None:
                names = (name for mark, name in _NAMES.items() if body.startswith(mark))
                return unsupported_fault(
                    "Ogg", next(names, f"an unknown codec ({body[:8].hex(' ')})")
                )
            streams.append(_Stream(codec, body, at))
            current[serial] = streams[-1], place
        elif serial not in current or place != current[serial][1] + 1:
            return damaged_fault("Ogg", f"pages are missing before byte {at}")
        stream = current[serial][0]
        current[serial] = stream, place
        granule = struct.unpack("<q", page[6:14])[0]
        if granule >= 0 and not page[5] & 2:
            if granule < stream.granule:
                return damaged_fault("Ogg", f"page {number}, at byte {at}, goes back in time")
            stream.granule, stream.last = granule, at
        if stream.codec == "Opus":
            stream.last_page_samples = sum(map(packet_samples, page_packets(page)))
            stream.packet_samples += stream.last_page_samples
        stream.stop, stream.ended = at + len(page), bool(page[5] & 4)
    return None


def _pages(file: BinaryIO, size: int) -> Iterator[tuple[int, bytes]]:
    """Yield each page with its position; stop after a truncated or invalid one."""
    at = 0
    while at < size:
        file.seek(at)
        page = file.read(27)
        if page[:4] == b"OggS" and len(page) == 27:
            page += file.read(page[26])
            page += file.read(sum(page[27:]))
        yield at, page
        at += len(page)


def _part(file: BinaryIO, stream: _Stream) -> Part:
    """Return a stream with its declared length: its last page may drop padding.

    A stream that was joined while it was sent states more than it holds.
    """
    if stream.codec == "Opus":
        skip = int.from_bytes(stream.head[10:12], "little")
        frames = FrameCount(max(0, min(stream.granule, stream.packet_samples) - skip), fewer=RATE)
        return Part(SplicedFile(file, [(stream.start, stream.stop)]), frames, RATE)
    file.seek(stream.last)
    page = bytearray(file.read(27))
    page += file.read(page[26])
    page += file.read(sum(page[27:]))
    page[6:14] = struct.pack("<q", _ENDLESS)
    page[22:26] = checksum(bytes(page)).to_bytes(4, "little")
    after = stream.last + len(page)
    pieces: list[bytes | tuple[int, int]] = [
        (stream.start, stream.last),
        bytes(page),
        (after, max(after, stream.stop)),
    ]
    frames = FrameCount(stream.granule, fewer=stream.granule, more=_BLOCK)
    return Part(SplicedFile(file, pieces), frames)


def checksum(page: bytes) -> int:
    """Return the CRC-32 of Ogg (RFC 3533): zlib's, with bits mirrored and nothing inverted."""
    bare = page[:22] + bytes(4) + page[26:]
    mirrored = zlib.crc32(bare.translate(_MIRRORED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)
