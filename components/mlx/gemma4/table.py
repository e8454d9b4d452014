"""The rows of the per-layer table, read from their file or loaded completely."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from composer.formats.quantization import Scheme

from ...checkpoints.packing import PARTS
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


def _map_rows(tensor: Tensor) -> np.ndarray:
    """Map a tensor's rows from its file; rows are read on access."""
    assert isinstance(tensor.file.path, Path)
    return np.memmap(
        tensor.file.path, STORED[tensor.dtype], "r", offset=tensor.offset, shape=tensor.shape
    )
