"""Read a network's stored tensors as float32, whatever dtype or packing they are stored in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from .affine import dequantize
from .row_reader import RowReader

if TYPE_CHECKING:
    from composer.formats.quantization import Scheme
    from composer.formats.safetensors import Tensor


class WeightReader:
    """The tensors of one network by their names in its layout.

    Convolutions are [out, *kernel, in]: those that are `torch_ordered` are stored otherwise. Those
    with a scheme of `mx.quantize` are dequantized.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        stored: Mapping[str, Tensor],
        torch_ordered: frozenset[str] = frozenset(),
        schemes: Mapping[str, Scheme] | None = None,
    ) -> None:
        self.tensors = tensors
        self.stored = stored
        self.torch_ordered = torch_ordered
        self.schemes = schemes or {}
        self.reader = RowReader()

    def read(self, name: str) -> np.ndarray:
        """Return one weight as float32."""
        tensor = self.tensors[name]
        scheme = self.schemes.get(name.removesuffix(".weight"))
        if scheme is None:
            value = self.reader.whole(tensor)
        else:
            path = tensor.name.removesuffix("weight")
            scales = self.reader.whole(self.stored[f"{path}scales"])
            biases = self.reader.whole(self.stored[f"{path}biases"])
            packed = self.reader.whole(self.stored[tensor.name])
            value = dequantize(packed, scales, biases, scheme)
        if name in self.torch_ordered:
            return np.moveaxis(value, 1, -1)
        return value
