"""Walk protobuf messages in a file of any size, skipping unknown fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from composer.formats.byte_ranges import ByteRanges

BLOCK = 16_384
FIELDS = 1_000_000
REPEATS = 50_000
TEXT = 65_536
MAX_NAME_BYTES = 32_000_000
STRING_OVERHEAD = 64  # what a short string costs beside its characters

Span = tuple[int, int]


class MalformedMessage(Exception):
    """Bytes that are not a valid message."""


class ExcessiveMessage(Exception):
    """A message that exceeds the limits of any genuine model."""


class Field(NamedTuple):
    """A known field of a message: its name, how to read it, and whether it repeats."""

    name: str
    kind: Literal["int", "text", "span"]
    many: bool = False


class ProtobufReader:
    """Read a file through one sliding block, counting the fields and names that were visited."""

    def __init__(self, ranges: ByteRanges) -> None:
        self.ranges = ranges
        self.size = ranges.size
        self.base = 0
        self.data = b""
        self.fields = 0
        self.name_bytes = 0

    def varint(self, at: int, end: int) -> tuple[int, int]:
        """Return the number at `at` and where it ends."""
        start_in_block = at - self.base
        if start_in_block < 0 or start_in_block + 10 > len(self.data):
            self.base, start_in_block = at, 0
            self.data = self.ranges.read(at, max(0, min(BLOCK, self.size - at)))
        value = shift = 0
        for byte in self.data[start_in_block : start_in_block + min(10, end - at)]:
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                if value >= 1 << 64:
                    break
                return value, at + shift // 7
        raise MalformedMessage(f"a number at byte {at} does not end")

    def text(self, span: Span) -> str:
        """Return a short string."""
        start, end = span
        if end - start > TEXT:
            raise ExcessiveMessage(f"a name at byte {start} has {end - start} bytes")
        self.name_bytes += STRING_OVERHEAD + end - start
        if self.name_bytes > MAX_NAME_BYTES:
            raise ExcessiveMessage(f"its names take more than {MAX_NAME_BYTES} bytes")
        start_in_block = start - self.base
        if start_in_block >= 0 and end - self.base <= len(self.data):
            data = self.data[start_in_block : end - self.base]
        else:
            data = self.ranges.read(start, end - start)
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise MalformedMessage(f"the text at byte {start} is not UTF-8") from None


def read_message(reader: ProtobufReader, span: Span, fields: Mapping[int, Field]) -> dict[str, Any]:
    """Return a message's known fields by name: a list for repeated ones, else a value or None.

    A field of the wrong wire type, or a singular one given twice, is refused: parsers differ there.
    """
    found: dict[str, Any] = {field.name: [] if field.many else None for field in fields.values()}
    at, end = span
    while at < end:
        reader.fields += 1
        if reader.fields > FIELDS:
            raise ExcessiveMessage(f"it has more than {FIELDS} fields")
        start = at
        key, at = reader.varint(at, end)
        wire, field = key & 7, fields.get(key >> 3)
        value: Any = None
        if wire == 0:
            value, at = reader.varint(at, end)
            if value >= 1 << 63:
                value -= 1 << 64
        elif wire == 2:
            length, at = reader.varint(at, end)
            value, at = (at, at + length), at + length
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        if wire in (3, 4, 6, 7) or key < 8 or key >> 32:
            raise MalformedMessage(f"no field can start at byte {start}")
        if at > end:
            raise MalformedMessage(
                f"the field at byte {start} ends {at - end} bytes past its message"
            )
        if field is None:
            continue
        if field.kind == "int" and wire == 2 and field.many:
            found[field.name] += _packed(reader, value)
            continue
        if (wire == 0) != (field.kind == "int") or wire in (1, 5):
            raise MalformedMessage(f"{field.name} at byte {start} has the wrong wire type")
        if field.kind == "text":
            value = reader.text(value)
        if not field.many:
            if found[field.name] is not None:
                raise MalformedMessage(
                    f"{field.name} occurs twice, the second time at byte {start}"
                )
            found[field.name] = value
        elif len(found[field.name]) >= REPEATS:
            raise ExcessiveMessage(f"it has more than {REPEATS} of {field.name}")
        else:
            found[field.name].append(value)
    return found


def _packed(reader: ProtobufReader, span: Span) -> list[int]:
    at, end = span
    if end - at > REPEATS:
        raise ExcessiveMessage(f"a list of numbers at byte {at} has {end - at} bytes")
    numbers = []
    while at < end:
        value, at = reader.varint(at, end)
        numbers.append(value - (1 << 64) if value >= 1 << 63 else value)
    return numbers
