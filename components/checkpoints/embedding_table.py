"""The table of embeddings, which shows how wide a language model is and how many tokens it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from composer.core.errors import Problem
from composer.core.location import Location
from composer.formats.quantization import Scheme

if TYPE_CHECKING:
    from composer.formats.safetensors import Tensor, TensorIndex

TABLE = "embed_tokens.weight"
FLOATS = ("f32", "f16", "bf16")
DEQUANTIZED = "bf16"  # what rows with integer scales (mxfp4, mxfp8, nvfp4) become: exact there


@dataclass(frozen=True)
class EmbeddingTable:
    """The embeddings: `rows` tokens of `width`, stored as the tensor `name`."""

    name: str
    rows: int
    width: int
    dtype: str
    witness: str

    @property
    def prefix(self) -> str:
        return self.name.removesuffix(TABLE)


def find_table(
    location: Location, tensors: TensorIndex, schemes: Mapping[str, Scheme]
) -> EmbeddingTable | Problem:
    """Find the embeddings; they give the width D and the vocabulary V."""
    found = [tensor for name, tensor in tensors.items() if f".{name}".endswith(f".{TABLE}")]
    if len(found) != 1 or len(found[0].shape) != 2:
        return Problem(
            "W241",
            f"a language model has one {TABLE} with two axes; {location} has {len(found)}",
            causes=tuple(map(describe_tensor, found)),
        )
    tensor = found[0]
    rows, width = tensor.shape
    scheme = schemes.get(tensor.name.removesuffix(".weight"))
    witness = f"{location}: {tensor.name} {list(tensor.shape)}"
    if scheme is None:
        return EmbeddingTable(tensor.name, rows, width, tensor.dtype, witness)
    scales = tensors.get(tensor.name.removesuffix("weight") + "scales")
    width = scheme.unpacked(width)
    dtype = DEQUANTIZED
    if scales and scales.dtype in FLOATS:
        dtype = scales.dtype
    return EmbeddingTable(tensor.name, rows, width, dtype, f"{witness} of {scheme.bits} bits")


def describe_tensor(tensor: Tensor) -> str:
    """Name a tensor as messages do, with its dtype and shape."""
    return f"{tensor.name} {tensor.dtype} {list(tensor.shape)}"
