"""Measure the tensors stored in an ONNX file and confine the files that they point to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from composer.core.location import Location
from composer.formats.file_problems import FileProblems, show, show_bare
from composer.formats.files import Files
from composer.formats.onnx_values import MOST_NUMBERS, KnownValue
from composer.formats.protobuf import Field, ProtobufReader, Span, read_message

TENSOR = {
    1: Field("dims", "int", many=True),
    2: Field("dtype", "int"),
    4: Field("floats", "span", many=True),
    5: Field("int32s", "span", many=True),
    6: Field("strings", "span", many=True),
    7: Field("int64s", "span", many=True),
    8: Field("name", "text"),
    9: Field("raw", "span"),
    10: Field("doubles", "span", many=True),
    11: Field("uint64s", "span", many=True),
    13: Field("external", "span", many=True),
    14: Field("place", "int"),
}
TYPED = ("floats", "int32s", "int64s", "doubles", "uint64s")
ENTRY = {1: Field("key", "text"), 2: Field("value", "text")}
KEYS = {"location", "offset", "length", "checksum"}

DTYPES = {
    1: ("f32", 32),
    2: ("u8", 8),
    3: ("i8", 8),
    4: ("u16", 16),
    5: ("i16", 16),
    6: ("i32", 32),
    7: ("i64", 64),
    8: ("string", 0),
    9: ("bool", 8),
    10: ("f16", 16),
    11: ("f64", 64),
    12: ("u32", 32),
    13: ("u64", 64),
    14: ("c64", 64),
    15: ("c128", 128),
    16: ("bf16", 16),
    17: ("f8_e4m3", 8),
    18: ("f8_e4m3fnuz", 8),
    19: ("f8_e5m2", 8),
    20: ("f8_e5m2fnuz", 8),
    21: ("u4", 4),
    22: ("i4", 4),
    23: ("f4_e2m1", 4),
    24: ("f8_e8m0", 8),
    25: ("u2", 2),
    26: ("i2", 2),
}
DIM, AXES = 2**31 - 1, 64


@dataclass(frozen=True, slots=True)
class ExternalData:
    """Where the bytes of one tensor are, outside the ONNX file."""

    tensor: str
    file: Location
    offset: int
    length: int


class Initializers:
    """Measure stored tensors without reading their bytes."""

    def __init__(
        self, location: Location, reader: ProtobufReader, files: Files, report: FileProblems
    ) -> None:
        self.location = location
        self.reader = reader
        self.files = files
        self.report = report
        self.external: list[ExternalData] = []
        self.nbytes = 0
        self.sizes: dict[str, int | None] = {}
        self.bfloat16: set[str] = set()

    def known(self, span: Span) -> KnownValue | None:
        """Return a tensor's shape, and its numbers where they are few whole ones stored here."""
        tensor = read_message(self.reader, span, TENSOR)
        dims = tensor["dims"]
        if tensor["dtype"] not in DTYPES or not is_addressable(dims):
            return None
        dtype, bits = DTYPES[tensor["dtype"]]
        few = len(dims) <= 1 and prod(dims) <= MOST_NUMBERS and tensor["place"] != 1
        if not few or dtype not in ("i64", "i32"):
            return KnownValue(tuple(dims), bits)
        return KnownValue(tuple(dims), bits, self._numbers(tensor, bits // 8, prod(dims)))

    def _numbers(self, tensor: Mapping[str, Any], size: int, count: int) -> tuple[int, ...] | None:
        if tensor["raw"] is not None:
            start, end = tensor["raw"]
            data = self.reader.ranges.read(start, min(end - start, size * count))
            numbers = []
            for at in range(0, len(data), size):
                numbers.append(int.from_bytes(data[at : at + size], "little", signed=True))
            return tuple(numbers)
        found: list[int] = []
        spans = tensor["int64s"] if size == 8 else tensor["int32s"]
        for at, end in spans:
            while at < end and len(found) < count:
                number, at = self.reader.varint(at, end)
                if number >= 1 << 63:
                    number -= 1 << 64
                found.append(number)
        if len(found) < count:
            return None
        return tuple(found)

    def add(self, span: Span, constant: str | None = None) -> str:
        """Measure one tensor and return its name; `constant` is what a node calls it."""
        tensor = read_message(self.reader, span, TENSOR)
        name, dims = tensor["name"] or "", tensor["dims"]
        if tensor["dtype"] not in DTYPES:
            self._wrong("S443", name, f"has the unknown element type {tensor['dtype']}")
            return name
        dtype, bits = DTYPES[tensor["dtype"]]
        if not is_addressable(dims):
            self._wrong("S444", name, f"has the dims {show(str(dims))}, which are out of range")
            return name
        if dtype == "bf16":
            self.bfloat16.add(constant or name)
        count = prod(dims)
        nbytes = (count * bits + 7) // 8
        self.nbytes += nbytes
        if tensor["place"] == 1:
            self._add_external(name, nbytes, tensor["external"], tensor["raw"] is not None)
        elif tensor["raw"] is not None:
            stored = tensor["raw"][1] - tensor["raw"][0]
            if stored != nbytes:
                self._wrong(
                    "S452", name, f"is {dtype} {dims}, {nbytes} bytes, but {stored} are stored"
                )
        elif count > len(tensor["strings"]) if dtype == "string" else count:
            stored = 0
            for kind in TYPED:
                for start, end in tensor[kind]:
                    stored += end - start
            if dtype == "string" or count > 4 * stored:
                self._wrong("S452", name, f"is {dtype} {dims}, but {stored} bytes are stored")
        return name

    def _wrong(self, code: str, name: str, message: str, hint: str | None = None) -> None:
        self.report.at(self.location, code, f"the tensor {show(name)} {message}", hint=hint)

    def _add_external(self, name: str, nbytes: int, entries: list[Span], inside: bool) -> None:
        values: dict[str, str] = {}
        for span in entries:
            entry = read_message(self.reader, span, ENTRY)
            key = entry["key"] or ""
            if key in values or not (key in KEYS or key.startswith("prepacked")):
                self._wrong("S449", name, f"has external data with the key {show(key)}")
                return
            values[key] = entry["value"] or ""
        path = values.get("location", "")
        if not _relative(path):
            self._wrong(
                "S448",
                name,
                f"stores its data in {show(path)}; expected a path in the folder of the model",
                hint="save the model with its data file beside it",
            )
            return
        numbers = [values.get("offset", "0"), values.get("length", str(nbytes))]
        if inside or not all(re.fullmatch(r"[0-9]{1,19}", number) for number in numbers):
            found = "data inside and outside" if inside else f"offset, length {', '.join(numbers)}"
            self._wrong("S449", name, f"has {show_bare(found)}; expected whole numbers from 0")
            return
        offset, length = map(int, numbers)
        if length != nbytes:
            self._wrong("S452", name, f"needs {nbytes} bytes, but {length} are stored outside")
        size = self._size(path)
        if size is not None and offset + length > size:
            self._wrong(
                "S450",
                name,
                f"needs bytes {offset} to {offset + length} of {path}, which has {size}",
                hint="the data file was cut off, or belongs to another model; download it again",
            )
        self.external.append(ExternalData(name, self._file(path), offset, length))

    def _file(self, path: str) -> Location:
        folder = self.location.inside.rpartition("/")[0]
        inside = "/".join(part for part in [folder, *path.split("/")] if part not in ("", "."))
        return replace(self.location, inside=inside)

    def _size(self, path: str) -> int | None:
        if path not in self.sizes:
            folder = replace(self.location, inside=self.location.inside.rpartition("/")[0])
            self.sizes[path] = None
            with (
                self.report.collect(),
                self.files.open(self._file(path), within=folder) as ranges,
            ):
                self.sizes[path] = ranges.size
        return self.sizes[path]


def is_addressable(dims: list[int]) -> bool:
    """Return whether a tensor of these dims is addressable."""
    if len(dims) > AXES or any(not 0 <= dim <= DIM for dim in dims):
        return False
    return prod(filter(None, dims)) <= 2**63 - 1


def _relative(path: str) -> bool:
    if not re.fullmatch(r"[^\\:*\x00-\x1f]{1,1024}", path):
        return False
    return not any(part in ("", "..") for part in path.split("/")) and path != "."
