"""The rows of the per-layer table, read from their file or loaded completely."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from composer.formats.quantization import Scheme

from ...checkpoints.gemma4.checkpoint import TABLE, Gemma4Checkpoint
from ...checkpoints.gguf.precision import is_gguf
from ...checkpoints.packing import PARTS
from ...checkpoints.row_reader import RowReader
from ...checkpoints.watched_file import WatchedFile
from ..dtypes import mlx_dtype as to_dtype
from ..loader import quantize_arguments

if TYPE_CHECKING:
    from composer.core.location import Location
    from composer.formats.safetensors import Tensor

STORED = {"f32": np.float32, "f16": np.float16, "bf16": np.uint16, "u32": np.uint32, "u8": np.uint8}

# A mapped file that is cut while it is read would end the process.
HINT = "load the bundle again; tables: loaded in a profile holds them in memory"


class PerLayerEmbeddingTable:
    """Rows [V, layers x width] of a table, scaled as the model scales them.

    A mapped table is read row by row from its tensors' files, and takes no memory
    of its own; a loaded one is completely in memory. Both give the same numbers. A mapped file that
    changes is refused. Rows that are stored plain are `rounded` as a packed table would have them.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        scheme: Scheme | None,
        layers: int,
        width: int,
        dtype: str,
        loaded: bool = False,
        rounded: Scheme | None = None,
    ) -> None:
        self.scheme = scheme or rounded
        self.rounded = rounded
        self.shape = (layers, width)
        self.dtype = dtype
        self.kinds: dict[str, str] = {}
        self.parts: dict[str, Any] = {}
        watches: dict[Location, WatchedFile] = {}
        for part, tensor in tensors.items():
            self.kinds[part] = tensor.dtype
            self.parts[part] = _map_rows(tensor)
            if loaded:
                self.parts[part] = self.array(part, self.parts[part])
            elif tensor.file not in watches:
                watches[tensor.file] = WatchedFile(tensor.file, HINT)
        self.watches = list(watches.values())

    def array(self, part: str, rows: Any) -> Any:
        """Return stored rows as an MLX array; NumPy has no bfloat16, whose bits come as uint16."""
        import mlx.core as mx

        made = mx.array(np.ascontiguousarray(rows))
        if self.kinds[part] == "bf16":
            made = made.view(mx.bfloat16)
        mx.eval(made)
        return made

    def rows(self, ids: Any) -> Any:
        """Return the rows of ids [T] as [T, layers, width]."""
        import mlx.core as mx

        for watch in self.watches:
            watch.require_unchanged()
        chosen = np.array(ids)
        parts = {}
        for part, table in self.parts.items():
            mapped = isinstance(table, np.ndarray)
            parts[part] = self.array(part, table[chosen]) if mapped else table[ids]
        if self.rounded:
            packed = mx.quantize(parts["weight"], **quantize_arguments(self.rounded))
            parts = dict(zip(PARTS, packed, strict=False))  # no biases but affine ones
        kind = to_dtype(self.dtype)
        for part, rows in parts.items():
            if mx.issubdtype(rows.dtype, mx.floating):
                parts[part] = rows.astype(kind)
        found = parts["weight"]
        if self.scheme:
            found = mx.dequantize(
                found,
                parts["scales"],
                parts.get("biases"),
                **quantize_arguments(self.scheme),
                dtype=kind,
            )
        return (found * self.shape[1] ** 0.5).reshape(len(chosen), *self.shape)


class BlockTable:
    """The per-layer table of a GGUF file, whose rows are dequantized as they are read.

    A loaded one has its blocks in memory. A file that changes is refused.
    """

    def __init__(
        self, tensor: Tensor, layers: int, width: int, dtype: str, loaded: bool = False
    ) -> None:
        self.tensor = tensor
        self.shape = (layers, width)
        self.dtype = dtype
        self.reader = RowReader()
        self.blocks = self.reader.raw(tensor, 0, tensor.shape[0] if loaded else 1)
        self.loaded = loaded

    def rows(self, ids: Any) -> Any:
        """Return the rows of ids [T] as [T, layers, width]."""
        import mlx.core as mx

        chosen = np.array(ids)
        values = self.reader.values(self.tensor, self._stored(chosen))
        rows = mx.array(values).astype(to_dtype(self.dtype))
        return (rows * self.shape[1] ** 0.5).reshape(len(chosen), *self.shape)

    def _stored(self, ids: np.ndarray) -> np.ndarray:
        """Return the bytes of rows."""
        if self.loaded:
            return np.take(self.blocks, ids, axis=0)
        for file in self.reader.files.values():
            file.require_unchanged()
        found = np.empty((len(ids), self.blocks.shape[1]), np.uint8)
        for row, token in zip(found, ids.tolist(), strict=True):
            row[:] = self.reader.raw(self.tensor, token, token + 1)[0]
        return found


def open_table(
    decoder: Gemma4Checkpoint, rounded: Scheme | None, dtype: str, loaded: bool
) -> PerLayerEmbeddingTable | BlockTable | None:
    """Return a decoder's per-layer table, None where it has none."""
    tensors, checkpoint = decoder.table, decoder.checkpoint
    layers, width = len(decoder.settings.layers), decoder.settings.per_layer.value
    if not tensors:
        return None
    if is_gguf(checkpoint.location):
        return BlockTable(tensors["weight"], layers, width, dtype, loaded)
    scheme = checkpoint.schemes.get(TABLE)
    return PerLayerEmbeddingTable(tensors, scheme, layers, width, dtype, loaded, rounded)


def _map_rows(tensor: Tensor) -> np.ndarray:
    """Map a tensor's rows from its file; rows are read on access."""
    assert isinstance(tensor.file.path, Path)
    return np.memmap(
        tensor.file.path, STORED[tensor.dtype], "r", offset=tensor.offset, shape=tensor.shape
    )
