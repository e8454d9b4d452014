"""Find out whether a JPEG has every scan that its pixels need, and every part of each scan."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

START, END, RESTARTS, SCAN = 0xD8, 0xD9, 0xDD, 0xDA
FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
ALONE = {0x01, *range(0xD0, 0xD9)}
COEFFICIENTS = 64
MOST_SCANS = 500  # each is decoded into the whole picture; encoders write some ten
MOST_IN_A_SCAN = 4
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_ENDS_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")


@dataclass(frozen=True)
class ColourComponent:
    """How often a component is sampled across and down."""

    horizontal: int
    vertical: int


@dataclass
class JpegFrame:
    """What the header of a frame says, and which bits of each coefficient are missing still.

    `missing` has, by component, the lowest bits of its 64 coefficients that no scan has brought.
    """

    width: int
    height: int
    is_progressive: bool
    components: dict[int, ColourComponent]
    missing: dict[int, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.components:
            self.missing[name] = [COEFFICIENTS] * COEFFICIENTS

    def parts(self, names: list[int]) -> int:
        """Return how many units a scan of these components has: blocks of one, or MCUs."""
        most_across = max(each.horizontal for each in self.components.values())
        most_down = max(each.vertical for each in self.components.values())
        width, height = self.width, self.height
        if len(names) == 1:
            only = self.components[names[0]]
            width = -(-width * only.horizontal // most_across)
            height = -(-height * only.vertical // most_down)
            most_across = most_down = 1
        return -(-width // (8 * most_across)) * -(-height // (8 * most_down))


def require_all_scans(data: bytes) -> int:
    """Return where the end marker stands; raise ValueError where a scan or a part is missing.

    libjpeg decodes what there is of a progressive picture, and fills up what is missing between
    restart markers, without an error. ITU-T T.81, B.2 and G.1.1.1.
    """
    frame, interval, number = None, 0, 0
    for marker, body, after in _segments(data):
        if marker in FRAMES:
            if frame is not None:
                raise ValueError("it has two frames")
            frame = _frame(marker, body)
        elif marker == RESTARTS:
            (interval,) = struct.unpack_from(">H", body)
        elif marker == SCAN:
            if frame is None:
                raise ValueError("it has a scan before its frame")
            number += 1
            if number > MOST_SCANS:
                raise ValueError(f"it has more than {MOST_SCANS} scans")
            names = _scan(frame, body)
            found = 1 + len(_RESTART.findall(data, *after))
            needed = -(-frame.parts(names) // interval) if interval else 1
            if found < needed:
                raise ValueError(f"its scan {number} has {found} of {needed} parts")
        elif marker == END:
            _require_complete(frame)
            return after[0] - 2
    raise ValueError("it has no end marker")


def _segments(data: bytes) -> Iterator[tuple[int, bytes, tuple[int, int]]]:
    """Yield each marker with its body, and where what stands between it and the next one lies."""
    at = 2
    while found := _MARKER.search(data, at):
        marker, at = data[found.start() + 1], found.end()
        if marker in ALONE:
            continue
        if marker == END:
            yield marker, b"", (at, at)
            return
        body = data[at + 2 : at + struct.unpack_from(">H", data, at)[0]]
        at += 2 + len(body)
        end = _ENDS_SCAN.search(data, at) if marker == SCAN else None
        after = end.start() if end else at
        yield marker, body, (at, after)
        at = after


def _frame(marker: int, body: bytes) -> JpegFrame:
    _, height, width, count = struct.unpack_from(">BHHB", body)
    components = {}
    for number in range(count):
        name, sampling, _ = struct.unpack_from(">BBB", body, 6 + 3 * number)
        components[name] = ColourComponent(sampling >> 4, sampling & 15)
    if not components or not all(each.horizontal and each.vertical for each in components.values()):
        raise ValueError("its frame has no components")
    return JpegFrame(width, height, marker in PROGRESSIVE, components)


def _scan(frame: JpegFrame, body: bytes) -> list[int]:
    """Take what a scan has off what is missing; return its components."""
    names = list(body[1 : 1 + 2 * body[0] : 2])
    first, last, bits = struct.unpack_from(">BBB", body, 1 + 2 * body[0])
    known = set(names) <= frame.components.keys()
    if not known or not 1 <= len(names) <= MOST_IN_A_SCAN:
        raise ValueError("a scan is of components that its frame has not")
    if not frame.is_progressive:
        first, last, bits = 0, COEFFICIENTS - 1, 0
    for name in names:
        for place in range(first, min(last, COEFFICIENTS - 1) + 1):
            frame.missing[name][place] = bits & 15
    return names


def _require_complete(frame: JpegFrame | None) -> None:
    if frame is None:
        raise ValueError("it has no frame")
    missing = sum(any(each) for each in frame.missing.values())
    if missing:
        of = len(frame.missing)
        raise ValueError(f"scans are missing: {missing} of {of} components are not whole")
