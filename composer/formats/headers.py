"""Read headers for components, each file once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from composer.core.errors import Problem
from composer.core.location import Location
from composer.formats.byte_ranges import ByteRanges
from composer.formats.config import read_config
from composer.formats.files import Files, Kind, LocalFiles
from composer.formats.gguf import GgufFile, read_gguf
from composer.formats.onnx import OnnxSignature, read_onnx_signature
from composer.formats.safetensors import TensorIndex, read_safetensors
from composer.formats.tokenizer import TokenizerInfo, read_tokenizer, tokenizer_file

T = TypeVar("T")


class _RecordingFiles:
    """Files that record which of them were opened."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.opened: dict[Location, None] = {}

    def kind(self, location: Location) -> Kind | None:
        return self.files.kind(location)

    def names(self, location: Location) -> tuple[str, ...]:
        return self.files.names(location)

    def open(self, location: Location, within: Location | None = None) -> ByteRanges:
        found = self.files.open(location, within)
        self.opened[location] = None
        return found


class Headers:
    """Read each header once; `warnings` collects what was ignored.

    `opened` are the files requested since it was last cleared, cached or not: a component described
    from them needs them to load.
    """

    def __init__(self, files: Files | None = None) -> None:
        self._files = _RecordingFiles(files or LocalFiles())
        self.files: Files = self._files
        self.opened = self._files.opened
        self.warnings: list[Problem] = []
        self._read: dict[tuple[str, Location], tuple[Any, tuple[Location, ...]]] = {}

    def safetensors(self, location: Location) -> TensorIndex:
        """Describe the tensors of a file or of a folder's model."""
        return self._once(
            "safetensors",
            location,
            lambda: read_safetensors(location, self.files, self.warnings.append),
        )

    def gguf(self, location: Location) -> GgufFile:
        """Describe the metadata and the tensors of a GGUF file."""
        return self._once("gguf", location, lambda: read_gguf(location, self.files))

    def onnx(self, location: Location) -> OnnxSignature:
        """Describe the inputs and outputs of an ONNX file."""
        return self._once("onnx", location, lambda: read_onnx_signature(location, self.files))

    def tokenizer(self, location: Location) -> TokenizerInfo:
        """Describe a tokenizer.json or the one in a folder."""
        file = tokenizer_file(location, self.files)
        return self._once("tokenizer", file, lambda: read_tokenizer(file, self.files))

    def config(self, location: Location) -> dict[str, Any]:
        """Return a JSON object: a file, or the config.json in a folder."""
        return self._once(
            "config", location, lambda: read_config(location, self.files, self.warnings.append)
        )

    def exists(self, location: Location) -> bool:
        """Return whether a file or folder is there."""
        return self.files.kind(location) in ("file", "folder")

    def _once(self, reader: str, location: Location, read: Callable[[], T]) -> T:
        if (reader, location) not in self._read:
            before = dict(self.opened)
            self.opened.clear()
            try:
                self._read[reader, location] = (read(), tuple(self.opened))
            finally:
                newly_opened = dict(self.opened)
                self.opened.clear()
                self.opened.update(before | newly_opened)
        found, opened = self._read[reader, location]
        self.opened.update(dict.fromkeys(opened))
        result: T = found
        return result
