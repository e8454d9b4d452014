"""Hand headers to components, each file read once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from composer.errors import Problem
from composer.headers.config import read_config
from composer.headers.files import Files, LocalFiles
from composer.headers.onnx import OnnxSignature, read_onnx
from composer.headers.safetensors import TensorIndex, read_safetensors
from composer.headers.tokenizer import TokenizerInfo, read_tokenizer, tokenizer_file
from composer.location import Location

T = TypeVar("T")


class Headers:
    """Read each header once; `warnings` keeps what was ignored on the way."""

    def __init__(self, files: Files | None = None) -> None:
        self.files = files or LocalFiles()
        self.warnings: list[Problem] = []
        self._read: dict[tuple[str, Location], Any] = {}

    def safetensors(self, location: Location) -> TensorIndex:
        """Describe the tensors of a file or of a folder's model."""
        return self._once("safetensors", location, lambda: read_safetensors(location, self.files))

    def onnx(self, location: Location) -> OnnxSignature:
        """Describe the inputs and outputs of an ONNX file."""
        return self._once("onnx", location, lambda: read_onnx(location, self.files))

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
        """Tell whether a file or folder is there."""
        return self.files.kind(location) in ("file", "folder")

    def _once(self, reader: str, location: Location, read: Callable[[], T]) -> T:
        if (reader, location) not in self._read:
            self._read[reader, location] = read()
        found: T = self._read[reader, location]
        return found
