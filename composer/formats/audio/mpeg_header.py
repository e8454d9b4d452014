"""The header of an MPEG audio frame."""

from __future__ import annotations

from dataclasses import dataclass

_KBPS = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = (44_100, 48_000, 32_000)


@dataclass(frozen=True)
class Header:
    """The header of an MPEG frame, four bytes."""

    raw: bytes
    half: int  # 1: MPEG 1; 2: MPEG 2; 4: MPEG 2.5
    layer: int
    rate: int
    mono: bool
    size: int

    @property
    def samples(self) -> int:
        """Return the samples of a frame."""
        if self.layer == 1:
            return 384
        return 576 if self.layer == 3 and self.half > 1 else 1152

    @property
    def side(self) -> int:
        """Return the bytes of a layer 3 frame's side information."""
        if self.half == 1:
            return 17 if self.mono else 32
        return 9 if self.mono else 17

    @property
    def sound(self) -> tuple[int, int, bool]:
        """Return the properties that must not change within a stream."""
        return self.layer, self.rate, self.mono


def parse_frame_header(raw: bytes) -> Header | None:
    """Parse a frame's header, or return None."""
    if len(raw) < 4 or raw[0] != 0xFF or raw[1] & 0xE0 != 0xE0 or raw[1] & 0x18 == 0x08:
        return None
    layer, bits, rate = 4 - (raw[1] >> 1 & 3), raw[2] >> 4, raw[2] >> 2 & 3
    if layer == 4 or bits in (0, 15) or rate == 3:
        return None
    half = {0x18: 1, 0x10: 2, 0x00: 4}[raw[1] & 0x18]
    hertz = _RATES[rate] // half
    kbps = _KBPS[min(half, 2), layer][bits - 1]
    padding = raw[2] >> 1 & 1
    if layer == 1:
        size = (12_000 * kbps // hertz + padding) * 4
    else:
        size = (72_000 if layer == 3 and half > 1 else 144_000) * kbps // hertz + padding
    return Header(bytes(raw[:4]), half, layer, hertz, raw[3] >> 6 == 3, size)
