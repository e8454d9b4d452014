"""Read a network's stored tensors as float32, whatever dtype or packing they are stored in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from .embedding_table import FLOATS
from .finite import require_finite
from .modules import Module
from .row_reader import RowReader, row_ranges

if TYPE_CHECKING:
    from composer.formats.safetensors import Tensor


class WeightReader:
    """The tensors of one network by their names in its layout.

    Convolutions are [out, *kernel, in]: those that are `torch_ordered` are stored otherwise. Those
    of `packed` modules are dequantized.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        packed: Mapping[str, Module] | None = None,
        torch_ordered: frozenset[str] = frozenset(),
    ) -> None:
        self.tensors = tensors
        self.packed = packed or {}
        self.torch_ordered = torch_ordered
        self.reader = RowReader()

    def read(self, name: str) -> np.ndarray:
        """Return one weight as float32; raise S479 where it has NaN or infinity."""
        path, _, part = name.rpartition(".")
        if part == "weight" and path in self.packed:
            module = self.packed[path]
            self.require_finite_parts(module)
            value = self.reader.dense(module, 0, module.shape[0])
        else:
            value = self.reader.whole(self.tensors[name])
        require_finite(self.tensors[name], value)
        if name in self.torch_ordered:
            return np.moveaxis(value, 1, -1)
        return value

    def require_finite_parts(self, module: Module) -> None:
        """Raise S479 where the scales or offsets of a packed module have NaN or infinity."""
        for tensor in module.parts.values():
            if tensor.dtype in FLOATS:
                for start, end in row_ranges(module):
                    require_finite(tensor, self.reader.rows(tensor, start, end))
