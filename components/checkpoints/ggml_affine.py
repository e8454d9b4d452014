"""Blocks of ggml in the affine packing of mx.quantize: w = scale code + bias, in groups of 32.

The numbers are ggml's to the bit, as long as scales and biases are float32: a product of scale and
code fits into float32's 24 bits, and ggml adds the smallest number to it once, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from composer.formats.affine_packing import pack_codes
from composer.formats.quantization import Scheme

from .ggml_blocks import GROUP, PACKED, block_codes, block_lowest, packed_codes, packed_scales
from .row_reader import PIECE, RowReader

if TYPE_CHECKING:
    from composer.formats.safetensors import Tensor

FIVE = ("q5_0", "q5_1", "q5_k")  # types whose codes have five bits


class AffineRows(NamedTuple):
    """Rows [..., K] as weight uint32 [..., K bits / 32], scales and biases float32 [..., G]."""

    weight: np.ndarray
    scales: np.ndarray
    biases: np.ndarray


def affine_scheme(tensor: Tensor) -> Scheme | None:
    """Return how a tensor's blocks are packed so, None for types that are widened instead."""
    if tensor.dtype not in PACKED or len(tensor.shape) < 2:
        return None
    bits, _ = PACKED[tensor.dtype]
    return Scheme(5 if tensor.dtype in FIVE else bits, GROUP, "affine")


def affine_schemes(tensors: Mapping[str, Tensor]) -> dict[str, Scheme]:
    """Return the schemes of modules whose weights are packed so, by path."""
    found = {}
    for name, tensor in tensors.items():
        scheme = affine_scheme(tensor)
        if scheme and name.endswith(".weight"):
            found[name.removesuffix(".weight")] = scheme
    return found


def affine_rows(reader: RowReader, tensor: Tensor) -> AffineRows:
    """Read a tensor of blocks, in pieces of a bounded size."""
    scheme = affine_scheme(tensor)
    assert scheme
    *outer, columns = tensor.shape
    found = AffineRows(
        np.empty((*outer, columns * scheme.bits // 32), np.uint32),
        np.empty((*outer, columns // GROUP), np.float32),
        np.empty((*outer, columns // GROUP), np.float32),
    )
    step = max(PIECE // (4 * prod(tensor.shape[1:])), 1)
    for start in range(0, outer[0], step):
        end = min(start + step, outer[0])
        raw = reader.raw(tensor, start, end).reshape((end - start) * prod(outer[1:]), -1)
        made = pack_blocks(raw, tensor.dtype, scheme.bits)
        for part, rows in zip(found, made, strict=True):
            part[start:end] = rows.reshape(end - start, *part.shape[1:])
    return found


def pack_blocks(raw: np.ndarray, dtype: str, bits: int) -> AffineRows:
    """Return rows of bytes uint8 [N, row bytes] packed with so many bits for a code."""
    if bits == 4:
        weight = packed_codes(raw, dtype).reshape(len(raw), -1).view("<u4")
    else:
        weight = pack_codes(block_codes(raw, dtype), bits)
    return AffineRows(weight, packed_scales(raw, dtype), block_lowest(raw, dtype))
