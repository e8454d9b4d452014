"""Read the header of safetensors files: names, dtypes, shapes and where the bytes are."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from composer.core.errors import ComposerError, Place, Problem
from composer.core.location import Location
from composer.formats.byte_ranges import ByteRanges
from composer.formats.file_problems import FileProblems, join_names, refuse, show
from composer.formats.files import Files, LocalFiles, raise_missing
from composer.formats.shards import Shards, find_shards
from composer.formats.strictjson import kind, parse_object
from composer.formats.wrong_file_type import refuse_wrong_type

DTYPES = {
    "BOOL": ("bool", 1),
    "U8": ("u8", 1),
    "I8": ("i8", 1),
    "F8_E4M3": ("f8_e4m3", 1),
    "F8_E5M2": ("f8_e5m2", 1),
    "F8_E8M0": ("f8_e8m0", 1),
    "U16": ("u16", 2),
    "I16": ("i16", 2),
    "F16": ("f16", 2),
    "BF16": ("bf16", 2),
    "U32": ("u32", 4),
    "I32": ("i32", 4),
    "F32": ("f32", 4),
    "U64": ("u64", 8),
    "I64": ("i64", 8),
    "F64": ("f64", 8),
    "C64": ("c64", 8),
}
HEADER = 10_000_000
TENSORS = 50_000
AXES = 8
DIM = 2**31 - 1
NAME = re.compile(r"[A-Za-z0-9_.\-/]{1,256}")
FIELDS = {"dtype", "shape", "data_offsets"}


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor as its header describes it; `offset` counts from the start of `file`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    file: Location
    offset: int


@dataclass(frozen=True, eq=False)
class TensorIndex(Mapping[str, Tensor]):
    """The tensors of one file, or of all shards of a model, by name."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    files: tuple[Location, ...]

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())


def read_safetensors(
    location: Location,
    files: Files | None = None,
    warn: Callable[[Problem], None] | None = None,
) -> TensorIndex:
    """Describe a safetensors file, or the one model in a folder.

    `warn` is called with which files of the folder are not read.
    """
    files = files or LocalFiles()
    found = files.kind(location)
    if found is None:
        raise_missing(files, location)
    shards = find_shards(location, files) if found == "folder" else Shards((location,))
    if shards.others and warn:
        warn(_unread(location, shards))
    report, tensors, metadata = FileProblems(), dict[str, Tensor](), dict[str, str]()
    for shard in shards.files:
        try:
            own, notes = _read_header(shard, files)
        except ComposerError as error:
            report.add(*error.problems)
            continue
        metadata.update(notes)
        shards.compare(shard, own, report)
        for name, tensor in own.items():
            if name in tensors:
                report.at(shard, "S435", f"has {show(name)}, which is also in {tensors[name].file}")
            tensors.setdefault(name, tensor)
    report.raise_any()
    return TensorIndex(tensors, metadata, shards.files)


def _unread(folder: Location, shards: Shards) -> Problem:
    model = shards.files[0].inside.rpartition("/")[2]
    taken = model if len(shards.files) == 1 else f"the {len(shards.files)} files of the model"
    return Problem(
        "L330",
        f"takes {taken}, not {join_names(list(shards.others))}",
        Place(str(folder)),
        hint="write the path of the file that is meant, or move the others away",
        severity="warning",
    )


def _read_header(location: Location, files: Files) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of one file whose every byte is accounted for."""
    with files.open(location) as ranges:
        return _read(location, ranges)


def _read(location: Location, ranges: ByteRanges) -> tuple[dict[str, Tensor], dict[str, str]]:
    head = ranges.read(0, min(ranges.size, 512))
    if head[8:9] != b"{":
        refuse_wrong_type(location, head, "safetensors")
    if ranges.size < 8:
        refuse(location, "S420", f"has {ranges.size} bytes; a safetensors header needs 8")
    (length,) = struct.unpack("<Q", head[:8])
    if length > HEADER:
        refuse(location, "S420", f"declares a header of {length} bytes; the limit is {HEADER}")
    if length > ranges.size - 8:
        refuse(
            location,
            "S420",
            f"declares a header of {length} bytes but only {ranges.size - 8} follow",
            hint="the file was cut off; download it again",
        )
    if head[8:9] != b"{" or length == 0:
        refuse(location, "S420", "has no header that starts with '{'")
    header = ranges.read(8, length)
    entries = parse_object(location, header, what="the header", depth=8, lines=False)
    report = FileProblems()
    metadata = _metadata(location, entries.pop("__metadata__", {}), report)
    if len(entries) > TENSORS:
        refuse(location, "S426", f"has {len(entries)} tensors; the limit is {TENSORS}")
    valid = []
    for name, entry in entries.items():
        tensor = _tensor(location, name, entry, report)
        if tensor:
            valid.append(tensor)
    if len(valid) == len(entries):
        _check_coverage(location, valid, ranges.size - 8 - length, report)
    report.raise_any()
    start = 8 + length
    tensors = {each.name: replace(each, offset=start + each.offset) for each in valid}
    return tensors, metadata


def _metadata(location: Location, metadata: Any, report: FileProblems) -> dict[str, str]:
    if metadata is None:  # what mlx.core.save_safetensors writes when it is given none
        return {}
    if not isinstance(metadata, dict):
        report.at(
            location, "S421", f"__metadata__ is {kind(metadata)}; expected an object of strings"
        )
        return {}
    for key, value in metadata.items():
        if not isinstance(value, str):
            report.at(
                location, "S421", f"__metadata__[{show(key)}] is {kind(value)}; expected a string"
            )
            return {}
    return metadata


def _tensor(location: Location, name: str, entry: Any, report: FileProblems) -> Tensor | None:
    before = len(report) + report.omitted

    def add(code: str, message: str) -> None:
        report.at(location, code, f"tensor {show(name)} {message}")

    if not NAME.fullmatch(name) or ".." in name.split("/"):
        add("S425", "has a name that is not 1 to 256 of A-Z a-z 0-9 _ . - / without '..'")
    if not isinstance(entry, dict) or entry.keys() != FIELDS:
        found = ", ".join(map(show, sorted(entry))) if isinstance(entry, dict) else kind(entry)
        add("S422", f"has {found or 'nothing'}; expected exactly dtype, shape, data_offsets")
        return None
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        add("S423", f"has the dtype {show(str(dtype))}; expected one of {', '.join(DTYPES)}")
    if not isinstance(shape, list) or not all(_natural(dim) for dim in shape):
        add("S424", f"has the shape {show(str(shape))}; expected a list of whole numbers from 0")
    elif len(shape) > AXES:
        add("S424", f"has {len(shape)} axes; the limit is {AXES}")
    elif max(shape, default=0) > DIM or prod(dim for dim in shape if dim) > 2**63 - 1:
        add("S424", f"has the shape {shape}, which is too large to address")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_natural, offsets)):
        add("S422", f"has data_offsets {show(str(offsets))}; expected [start, end]")
    if len(report) + report.omitted > before:
        return None
    dtype_name, width = DTYPES[dtype]
    start, end = offsets
    nbytes = width * prod(shape)
    if end - start != nbytes:
        add("S427", f"is {dtype} {shape}, {nbytes} bytes, but data_offsets span {end - start}")
        return None
    return Tensor(name, dtype_name, tuple(shape), nbytes, location, start)


def _check_coverage(
    location: Location, tensors: list[Tensor], size: int, report: FileProblems
) -> None:
    end, previous = 0, ""
    for tensor in sorted(tensors, key=lambda tensor: (tensor.offset, tensor.nbytes)):
        if tensor.offset > end:
            report.at(location, "S429", f"bytes {end} to {tensor.offset} belong to no tensor")
        elif tensor.offset < end:
            report.at(
                location,
                "S428",
                f"tensor {show(tensor.name)} starts at {tensor.offset}, "
                f"inside {show(previous)}, which ends at {end}",
            )
        if tensor.offset + tensor.nbytes >= end:
            end, previous = tensor.offset + tensor.nbytes, tensor.name
    if end > size:
        report.at(
            location,
            "S431",
            f"its tensors need {end} bytes but {size} are there",
            hint="the file was cut off; download it again",
        )
    elif end < size:
        report.at(location, "S430", f"{size - end} bytes after the last tensor belong to none")


def _natural(value: Any) -> bool:
    return type(value) is int and value >= 0
