"""Write a safetensors file tensor by tensor, in pieces, with no more than a piece in memory."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from composer.formats.safetensors import DTYPES

NAMES = {short: (name, size) for name, (short, size) in DTYPES.items()}
ALIGNED = 8  # bytes to whose multiple the header is filled up


@dataclass(frozen=True)
class NewTensor:
    """A tensor that is to be written; `dtype` is its short name, such as bf16."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return NAMES[self.dtype][1] * prod(self.shape)


class SafetensorsWriter:
    """A new file whose header is known before its tensors are.

    Those of wide numbers come first, so that every tensor is aligned. Raise OSError where it
    cannot be written, and FileExistsError where there is a file.
    """

    def __init__(
        self, path: Path, tensors: Iterable[NewTensor], metadata: Mapping[str, str]
    ) -> None:
        ordered = sorted(tensors, key=lambda each: (-NAMES[each.dtype][1], each.name))
        header: dict[str, Any] = {"__metadata__": dict(metadata)}
        at = 0
        for each in ordered:
            span = [at, at + each.nbytes]
            dtype = NAMES[each.dtype][0]
            header[each.name] = {"dtype": dtype, "shape": each.shape, "data_offsets": span}
            at = span[1]
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % ALIGNED)
        start = 8 + len(text)
        self._next: dict[str, int] = {}
        self._end: dict[str, int] = {}
        for each in ordered:
            first, last = header[each.name]["data_offsets"]
            self._next[each.name], self._end[each.name] = start + first, start + last
        self._file = path.open("xb", buffering=0)
        self._put(len(text).to_bytes(8, "little") + text, 0)

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Write the next bytes of a tensor."""
        if self._next[name] + len(data) > self._end[name]:
            raise ValueError(f"{name} has more bytes than its shape")
        self._put(data, self._next[name])
        self._next[name] += len(data)

    def _put(self, data: bytes | memoryview, at: int) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._file.fileno(), view, at)
            view, at = view[written:], at + written

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Close the file; raise ValueError where a tensor is not whole."""
        short = [name for name, at in self._next.items() if at != self._end[name]]
        try:
            if kind is None:
                os.fsync(self._file.fileno())
        finally:
            self._file.close()
        if kind is None and short:
            raise ValueError(f"{short[0]} has fewer bytes than its shape")
