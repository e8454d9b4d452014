"""Read the header of a GGUF file: its metadata, and types, shapes and places of its tensors.

The layout is that of ggml's docs/gguf.md, version 3, little endian. A shape is NumPy's: ggml names
the fastest axis first.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from composer.core.location import Location
from composer.formats.byte_ranges import ByteRanges
from composer.formats.file_problems import FileProblems, join_names, refuse, show
from composer.formats.files import Files, LocalFiles
from composer.formats.safetensors import AXES, DIM, NAME, TENSORS, Tensor, TensorIndex
from composer.formats.wrong_file_type import refuse_wrong_type

SUFFIX = ".gguf"
MAGIC = b"GGUF"
HEADER = 128 << 20  # bytes; a vocabulary of 262,144 tokens with merges and scores takes 12 MB
PAIRS, KEY, TEXT = 10_000, 1 << 16, 1 << 22
ELEMENTS = 4_000_000  # of all arrays together
ALIGNMENT = "general.alignment"
STRING, ARRAY = 8, 9
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?",
           10: "Q", 11: "q", 12: "d"}  # fmt: skip
BLOCKS = {
    0: ("f32", 1, 4),
    1: ("f16", 1, 2),
    2: ("q4_0", 32, 18),
    3: ("q4_1", 32, 20),
    6: ("q5_0", 32, 22),
    7: ("q5_1", 32, 24),
    8: ("q8_0", 32, 34),
    10: ("q2_k", 256, 84),
    11: ("q3_k", 256, 110),
    12: ("q4_k", 256, 144),
    13: ("q5_k", 256, 176),
    14: ("q6_k", 256, 210),
    20: ("iq4_nl", 32, 18),
    23: ("iq4_xs", 256, 136),
    26: ("i32", 1, 4),
    28: ("f64", 1, 8),
    30: ("bf16", 1, 2),
}  # of each type: its name, and the elements and bytes of a block
NOT_READ = {9: "Q8_1", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S",
            21: "IQ3_S", 22: "IQ2_S", 24: "I8", 25: "I16", 27: "I64",
            29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4"}  # fmt: skip


@dataclass(frozen=True, eq=False)
class GgufFile:
    """A GGUF file as its header describes it; arrays of the metadata are lists."""

    metadata: Mapping[str, Any]
    tensors: TensorIndex


def read_gguf(location: Location, files: Files | None = None) -> GgufFile:
    """Describe a GGUF file; raise ComposerError with all that is wrong with its tensors."""
    with (files or LocalFiles()).open(location) as ranges:
        head = ranges.read(0, min(ranges.size, 512))
        if not head.startswith(MAGIC):
            refuse_wrong_type(location, head, "GGUF")
            refuse(location, "S420", "does not begin with GGUF")
        return _Reader(location, ranges).read()


class _Reader:
    """A position in a header that is read piece by piece, never beyond the file or the limit."""

    PIECE = 1 << 20

    def __init__(self, location: Location, ranges: ByteRanges) -> None:
        self.location = location
        self.ranges = ranges
        self.limit = min(ranges.size, HEADER)
        self.position = len(MAGIC)
        self.start, self.piece = 0, b""
        self.elements = 0

    def read(self) -> GgufFile:
        version = self.number("I")
        if version not in (2, 3):
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big")
            what = "big-endian" if swapped in (2, 3) else f"version {version}"
            refuse(
                self.location, "S420", f"is GGUF, {what}; versions 2 and 3, little endian, are read"
            )
        count, pairs = self.number("Q"), self.number("Q")
        self.require_count("tensors", count, TENSORS)
        self.require_count("metadata keys", pairs, PAIRS)
        metadata: dict[str, Any] = {}
        for _ in range(pairs):
            key = self.text("a key", KEY)
            if key in metadata:
                refuse(self.location, "S421", f"has the key {show(key)} twice")
            metadata[key] = self.value(key, self.number("I"))
        entries = [self.tensor() for _ in range(count)]
        alignment = metadata.get(ALIGNMENT, 32)
        if type(alignment) is not int or not 8 <= alignment <= 1 << 20 or alignment % 8:
            what = "expected a multiple of 8 up to 1048576"
            refuse(self.location, "S421", f"{ALIGNMENT} is {show(str(alignment))[1:-1]}; {what}")
        start = -(-self.position // alignment) * alignment
        return GgufFile(metadata, self.place(entries, start, alignment))

    def bytes(self, length: int) -> bytes:
        """Return the next bytes of the header."""
        end = self.position + length
        if end > self.limit:
            size = self.ranges.size
            what = f"the file has {size}" if size <= HEADER else f"the limit is {HEADER}"
            refuse(self.location, "S420", f"its header has at least {end} bytes; {what}")
        if end > self.start + len(self.piece):
            self.start = self.position
            size = min(max(length, self.PIECE), self.limit - self.position)
            self.piece = self.ranges.read(self.position, size)
        at = self.position - self.start
        self.position = end
        return self.piece[at : at + length]

    def number(self, form: str) -> Any:
        return struct.unpack(f"<{form}", self.bytes(struct.calcsize(f"<{form}")))[0]

    def text(self, what: str, limit: int) -> str:
        length = self.number("Q")
        if length > limit:
            refuse(self.location, "S420", f"{what} has {length} bytes; the limit is {limit}")
        try:
            return self.bytes(length).decode()
        except UnicodeDecodeError:
            refuse(self.location, "S421", f"{what} is not UTF-8")

    def value(self, key: str, kind: int) -> Any:
        if kind == STRING:
            return self.text(f"the text of {show(key)}", TEXT)
        if kind in NUMBERS:
            return self.number(NUMBERS[kind])
        if kind != ARRAY:
            refuse(self.location, "S421", f"{show(key)} has the type {kind}, which is none")
        inner, count = self.number("I"), self.number("Q")
        self.elements += count
        self.require_count(f"elements up to {show(key)}", self.elements, ELEMENTS)
        if inner == STRING:
            return [self.text(f"a text of {show(key)}", TEXT) for _ in range(count)]
        if inner not in NUMBERS:
            what = "arrays" if inner == ARRAY else f"the type {inner}, which is none"
            refuse(self.location, "S421", f"{show(key)} is an array of {what}")
        form = NUMBERS[inner]
        raw = self.bytes(count * struct.calcsize(f"<{form}"))
        return list(struct.unpack(f"<{count}{form}", raw))

    def require_count(self, what: str, count: int, limit: int) -> None:
        """Refuse more than the limit, or than the rest of the header has bytes for."""
        if count > limit:
            refuse(self.location, "S426", f"has {count} {what}; the limit is {limit}")
        if count > self.limit - self.position:
            left = self.limit - self.position
            refuse(self.location, "S420", f"has {count} {what}, but only {left} bytes follow")

    def tensor(self) -> tuple[str, tuple[int, ...], int, int]:
        """Return the name, the shape, the type and the offset of the next tensor."""
        name, axes = self.text("the name of a tensor", KEY), self.number("I")
        if axes > AXES:
            refuse(
                self.location, "S424", f"tensor {show(name)} has {axes} axes; the limit is {AXES}"
            )
        shape = tuple(self.number("Q") for _ in range(axes))
        return name, shape[::-1], self.number("I"), self.number("Q")

    def place(
        self, entries: list[tuple[str, tuple[int, ...], int, int]], start: int, alignment: int
    ) -> TensorIndex:
        """Check the tensors, each against the file and all against each other."""
        report, found = FileProblems(), dict[str, Tensor]()
        for name, shape, kind, offset in entries:
            if name in found:
                report.at(self.location, "S435", f"has the tensor {show(name)} twice")
            elif fault := _fault(name, shape, kind, offset, alignment):
                report.at(self.location, fault[0], f"tensor {show(name)} {fault[1]}")
            else:
                dtype, elements, size = BLOCKS[kind]
                nbytes = prod(shape) // elements * size
                found[name] = Tensor(name, dtype, shape, nbytes, self.location, start + offset)
        if not report:
            self.check_coverage(list(found.values()), start, alignment, report)
        report.raise_any()
        return TensorIndex(found, {}, (self.location,))

    def check_coverage(
        self, tensors: list[Tensor], start: int, alignment: int, report: FileProblems
    ) -> None:
        """Report what overlaps, what no tensor has but padding, and what is not there."""
        end, previous = start, ""
        for tensor in sorted(tensors, key=lambda tensor: (tensor.offset, tensor.nbytes)):
            if tensor.offset < end:
                what = f"starts at {tensor.offset}, inside {show(previous)}, which ends at {end}"
                report.at(self.location, "S428", f"tensor {show(tensor.name)} {what}")
            elif tensor.offset - end >= alignment:
                what = f"bytes {end} to {tensor.offset} belong to no tensor"
                report.at(self.location, "S429", what)
            if tensor.offset + tensor.nbytes >= end:
                end, previous = tensor.offset + tensor.nbytes, tensor.name
        size = self.ranges.size
        if end > size and tensors:
            hint = "the file was cut off; download it again"
            what = f"its tensors need {end} bytes but {size} are there"
            report.at(self.location, "S431", what, hint=hint)
        elif size - end >= alignment:
            report.at(
                self.location, "S430", f"{size - end} bytes after the last tensor belong to none"
            )


def _fault(
    name: str, shape: tuple[int, ...], kind: int, offset: int, alignment: int
) -> tuple[str, str] | None:
    """Return the code of what is wrong with one tensor, and its description."""
    if not NAME.fullmatch(name) or ".." in name.split("/"):
        return "S425", "has a name that is not 1 to 256 of A-Z a-z 0-9 _ . - / without '..'"
    if kind not in BLOCKS:
        known = join_names([block.upper() for block, *_ in BLOCKS.values()], len(BLOCKS))
        return "S423", f"has the type {NOT_READ.get(kind, kind)}; expected one of {known}"
    if max(shape, default=0) > DIM or prod(dim for dim in shape if dim) > 2**63 - 1:
        return "S424", f"has the shape {list(shape)}, which is too large to address"
    dtype, elements, _ = BLOCKS[kind]
    columns = shape[-1] if shape else 1
    if columns % elements:
        what = f"rows of {columns} are no whole number of blocks of {elements}"
        return "S427", f"is {dtype.upper()} {list(shape)}, but {what}"
    if offset % alignment:
        return "S427", f"starts at {offset}, which is no multiple of the alignment {alignment}"
    return None
