import pytest

from composer.formats import protobuf
from composer.formats.protobuf import (
    ExcessiveMessage,
    Field,
    MalformedMessage,
    ProtobufReader,
    read_message,
)
from tests.formats.making import MemoryRanges

FIELDS = {
    1: Field("count", "int"),
    2: Field("name", "text"),
    3: Field("parts", "span", many=True),
    4: Field("dims", "int", many=True),
}


def read(data: bytes) -> dict[str, object]:
    return read_message(ProtobufReader(MemoryRanges(data)), (0, len(data)), FIELDS)


def test_absent_fields_are_none_or_empty() -> None:
    assert read(b"") == {"count": None, "name": None, "parts": [], "dims": []}


def test_numbers_are_signed_and_may_be_packed() -> None:
    minus = b"\xff" * 9 + b"\x01"
    assert read(b"\x08" + minus)["count"] == -1
    assert read(b"\x20\x05\x22\x03\x01\xac\x02\x22\x0a" + minus)["dims"] == [5, 1, 300, -1]


def test_unknown_fields_are_hopped_over() -> None:
    data = b"\x50\x01" + b"\x55" + bytes(4) + b"\x51" + bytes(8) + b"\x52\x03abc" + b"\x12\x01x"
    assert read(data)["name"] == "x"


def test_a_message_may_be_longer_than_the_window() -> None:
    blob = b"\x52\xa0\x8d\x06" + bytes(100_000)
    assert read(blob + b"\x12\x02hi" + blob + b"\x08\x07")["count"] == 7
    assert read(b"\x50\x01" * 10_000 + b"\x08\x07")["count"] == 7


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x08", "a number at byte 1 does not end"),
        (b"\x08\x80", "a number at byte 1 does not end"),
        (b"\x08" + b"\xff" * 9 + b"\x02", "a number at byte 1 does not end"),
        (b"\x12\x05ab", "the field at byte 0 ends 3 bytes past its message"),
        (b"\x55\x00", "the field at byte 0 ends 3 bytes past its message"),
        (
            b"\x12" + b"\xff" * 9 + b"\x01",
            "the field at byte 0 ends 18446744073709551615 bytes past its message",
        ),
        (b"\x02\x00", "no field can start at byte 0"),
        (b"\x0b", "no field can start at byte 0"),
        (b"\x10\x01", "name at byte 0 has the wrong wire type"),
        (b"\x08\x01\x08\x01", "count occurs twice, the second time at byte 2"),
        (b"\x12\x01\xff", "the text at byte 2 is not UTF-8"),
        (b"\x22\x01\x80", "a number at byte 2 does not end"),
    ],
)
def test_malformed(data: bytes, text: str) -> None:
    with pytest.raises(MalformedMessage) as caught:
        read(data)
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("limit", "data", "text"),
    [
        ("FIELDS", b"\x50\x01" * 9, "it has more than 8 fields"),
        ("REPEATS", b"\x1a\x00" * 9, "it has more than 8 of parts"),
        ("REPEATS", b"\x22\x09" + bytes(9), "a list of numbers at byte 2 has 9 bytes"),
        ("TEXT", b"\x12\x09" + bytes(9), "a name at byte 2 has 9 bytes"),
        ("MAX_NAME_BYTES", b"\x12\x00", "its names take more than 8 bytes"),
    ],
)
def test_excessive(monkeypatch: pytest.MonkeyPatch, limit: str, data: bytes, text: str) -> None:
    monkeypatch.setattr(protobuf, limit, 8)
    with pytest.raises(ExcessiveMessage) as caught:
        read(data)
    assert str(caught.value) == text
