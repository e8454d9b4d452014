"""Make hostile files, and hold files in memory."""

import json
import struct
from collections.abc import Callable, Mapping
from types import TracebackType

import pytest

from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.formats.files import Kind, raise_missing

HERE = Location("repo", "m", None)


class MemoryRanges:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    def read(self, offset: int, n: int) -> bytes:
        assert offset >= 0
        assert n >= 0
        assert offset + n <= self.size, "a reader asks for no byte beyond the end"
        return self.data[offset : offset + n]

    def __enter__(self) -> "MemoryRanges":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass


class MemoryFiles:
    """Files by their path inside a source; folders are what paths imply."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files

    def kind(self, location: Location) -> Kind | None:
        if location.inside in self.files:
            return "file"
        return "folder" if self.names(location) or not location.inside else None

    def names(self, location: Location) -> tuple[str, ...]:
        start = f"{location.inside}/" if location.inside else ""
        below = [name.removeprefix(start) for name in self.files if name.startswith(start)]
        return tuple(sorted({name.partition("/")[0] for name in below}))

    def open(self, location: Location, within: Location | None = None) -> MemoryRanges:
        if location.inside not in self.files:
            raise_missing(self, location)
        return MemoryRanges(self.files[location.inside])


def one(data: bytes) -> MemoryFiles:
    """Make one file, which `HERE` names."""
    return MemoryFiles({HERE.inside: data})


def refusal(read: Callable[[], object]) -> str:
    """Return the text with which a reader refuses."""
    with pytest.raises(ComposerError) as caught:
        read()
    return str(caught.value)


def tensors(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    """Write a safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(
    dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8), **more: object
) -> dict[str, object]:
    """Write one entry of a safetensors header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}
