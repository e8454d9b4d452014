"""Count the samples of Opus packets (RFC 6716, section 3.1)."""

from __future__ import annotations

from collections.abc import Iterator

RATE = 48_000
_SILK, _HYBRID, _CELT = (480, 960, 1920, 2880), (480, 960), (120, 240, 480, 960)


def page_packets(page: bytes) -> Iterator[bytes]:
    """Yield the packets that begin on an Ogg page."""
    at, begins = 27 + page[26], not page[5] & 1
    start = at
    for length in page[27 : 27 + page[26]]:
        at += length
        if length < 255:
            if begins:
                yield page[start:at]
            start, begins = at, True
    if start < at and begins:
        yield page[start:at]


def packet_samples(packet: bytes) -> int:
    """Return the samples of a packet at 48 kHz; 0 for a header."""
    if not packet or packet.startswith((b"OpusHead", b"OpusTags")):
        return 0
    config, code = packet[0] >> 3, packet[0] & 3
    if config < 12:
        size = _SILK[config % 4]
    elif config < 16:
        size = _HYBRID[config % 2]
    else:
        size = _CELT[config % 4]
    if code == 3:
        return size * (packet[1] & 63) if len(packet) > 1 else 0
    return size * (1 if code == 0 else 2)
