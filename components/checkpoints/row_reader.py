"""Read rows of stored tensors from their files, widened to float32, a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from composer.core.backend import widen
from composer.formats import affine_packing

from . import affine, ggml_blocks, microscaled
from .gguf.stored_forms import HalfOfJoined, InterleavedRotaryRows, StoredForm
from .modules import Module
from .packing import PARTS
from .watched_file import WatchedFile

if TYPE_CHECKING:
    from composer.core.location import Location
    from composer.formats.safetensors import Tensor

STORED = {"f32": "<f4", "f16": "<f2", "bf16": "<u2", "f64": "<f8", "u32": "<u4", "u8": "u1"}
PACKED_PARTS: Mapping[str, Callable[..., Any]] = {
    "codes": ggml_blocks.packed_codes,
    "scales": ggml_blocks.packed_scales,
    "residual_offset": ggml_blocks.block_midpoint_values,
}
PIECE = 16 << 20  # bytes of float32 that are made at once


class RowReader:
    """The tensors of a checkpoint's files."""

    def __init__(self) -> None:
        self.files: dict[Location, WatchedFile] = {}

    def rows(self, tensor: Tensor, start: int, end: int) -> np.ndarray:
        """Return rows as they are stored; floats widened to float32, which is exact."""
        return self.values(tensor, self.raw(tensor, start, end))

    def values(self, tensor: Tensor, raw: np.ndarray) -> np.ndarray:
        """Return what rows of bytes stand for, as `rows` does."""
        if tensor.dtype in ggml_blocks.SIZES:
            floats = ggml_blocks.dequantize(raw, tensor.dtype)
            return floats.reshape(len(raw), *tensor.shape[1:])
        values = raw.reshape(-1).view(STORED[tensor.dtype])
        found: np.ndarray = values.reshape(len(raw), *tensor.shape[1:])
        if tensor.dtype in ("u32", "u8"):
            return found
        wide = widen(found, tensor.dtype)
        return tensor.restored(wide) if isinstance(tensor, StoredForm) else wide

    def whole(self, tensor: Tensor) -> np.ndarray:
        """Return a tensor as it is stored; floats widened to float32."""
        if not tensor.shape:
            return self.whole(replace(tensor, shape=(1,))).reshape(())
        return self.rows(tensor, 0, tensor.shape[0])

    def raw(self, tensor: Tensor, start: int, end: int) -> np.ndarray:
        """Return the bytes of rows in the checkpoint's order, uint8 [N, bytes of a row]."""
        width = tensor.nbytes // max(tensor.shape[0], 1)
        if isinstance(tensor, InterleavedRotaryRows):
            return self._separated(tensor, start, end, width)
        if isinstance(tensor, HalfOfJoined):
            both = self._read(tensor, 2 * start, 2 * end, width)
            return both[int(tensor.second) :: 2]
        return self._read(tensor, start, end, width)

    def _separated(
        self, tensor: InterleavedRotaryRows, start: int, end: int, width: int
    ) -> np.ndarray:
        """Return rows in the checkpoint's order: the halves of each head one after the other."""
        size = tensor.head_dim
        first, last = start // size * size, -(-end // size) * size
        heads = self._read(tensor, first, last, width).reshape(-1, size // 2, 2, width)
        return heads.swapaxes(1, 2).reshape(-1, width)[start - first : end - first]

    def _read(self, tensor: Tensor, start: int, end: int, width: int) -> np.ndarray:
        file = self.files.get(tensor.file)
        if file is None:
            file = self.files[tensor.file] = WatchedFile(tensor.file)
        raw = file.read(tensor.offset + start * width, (end - start) * width)
        return np.frombuffer(raw, np.uint8).reshape(end - start, width)

    def part(self, module: Module, part: str, start: int, end: int) -> np.ndarray:
        """Return rows of one part of a packed module."""
        if part not in PARTS or not module.packed_when_read:
            return self.rows(module.parts[part], start, end)
        stored = module.parts["weight"]
        assert module.packing is not None
        floats = self.rows(stored, start, end)
        made = affine_packing.quantize(floats, module.packing, stored.dtype)
        return made[PARTS.index(part)]

    def dense(self, module: Module, start: int, end: int) -> np.ndarray:
        """Return rows of a module as float32 [N, K]."""
        weight = self.part(module, "weight", start, end)
        scheme = module.packing
        if scheme is None or module.in_blocks:
            return weight
        scales = self.part(module, "scales", start, end)
        if scheme.mode != "affine":
            return microscaled.dequantize(weight, scales, scheme)
        biases = self.part(module, "biases", start, end)
        return affine.dequantize(weight, scales, biases, scheme)

    def packed(self, module: Module, part: str, start: int, end: int) -> np.ndarray:
        """Return rows of a packed module's `codes`, `scales` or `residual_offset`."""
        assert module.scheme is not None
        if module.in_blocks:
            raw = self.raw(module.parts["weight"], start, end)
            found: np.ndarray = PACKED_PARTS[part](raw, module.parts["weight"].dtype)
            return found
        if part == "codes":
            return affine.codes(self.part(module, "weight", start, end), module.scheme)
        scales = self.part(module, "scales", start, end)
        if part == "scales":
            return scales
        return affine.residual_offset(
            scales, self.part(module, "biases", start, end), module.scheme
        )


def row_ranges(module: Module) -> Iterator[tuple[int, int]]:
    """Cut a module's rows into pieces of a bounded size."""
    rows, *widths = module.shape
    width = widths[-1] if widths else 1
    step = max(PIECE // (4 * width), 1)
    for start in range(0, rows, step):
        yield start, min(start + step, rows)


class EmbeddingRows:
    """The rows of the embedding table, which stays in its file."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.reader = RowReader()
        self.reader.dense(module, 0, 1)

    def look_up(self, ids: np.ndarray) -> np.ndarray:
        """Return the rows of ids [T] as float32 [T, D]."""
        for file in self.reader.files.values():
            file.require_unchanged()
        found = np.empty((len(ids), self.module.shape[1]), np.float32)
        for row, token in zip(found, ids.tolist(), strict=True):
            row[:] = self.reader.dense(self.module, token, token + 1)[0]
        return found
