"""The affine packing of mx.quantize, w = s q + b for each group of a row, and its meaning.

ONNX Runtime multiplies w = s (q - z) + r, z the middle code. r = b + s z is the residual offset:
MLX's bias is a multiple of its scale only before both are rounded to the stored dtype, so that
z = -b / s is no integer in most checkpoints. Its term is one product with the sums of the groups
of x.
"""

from __future__ import annotations

import numpy as np

from composer.formats.quantization import Scheme


def codes(weight: np.ndarray, scheme: Scheme) -> np.ndarray:
    """Return q of packed rows uint32 [N, K bits / 32] as uint8 [N, G, B].

    Both store the first code in the lowest bits.
    """
    size = scheme.group_size * scheme.bits // 8
    return np.ascontiguousarray(weight, "<u4").view(np.uint8).reshape(len(weight), -1, size)


def residual_offset(scales: np.ndarray, biases: np.ndarray, scheme: Scheme) -> np.ndarray:
    """Return r [N, G]."""
    return biases + scales * np.float32(2 ** (scheme.bits - 1))


def dequantize(
    weight: np.ndarray, scales: np.ndarray, biases: np.ndarray, scheme: Scheme
) -> np.ndarray:
    """Return packed rows uint32 [N, K bits / 32] as float32 [N, K]: scale times code plus bias.

    Codes of any width follow one another from the lowest bit on, as `mx.quantize` packs them.
    """
    rows, groups = scales.shape
    if scheme.bits == 8:
        found = codes(weight, scheme)
    elif scheme.bits == 4:
        pairs = codes(weight, scheme)
        found = np.stack([pairs & 15, pairs >> 4], axis=-1)
    else:
        data = np.ascontiguousarray(weight, "<u4").view(np.uint8)
        bits = np.unpackbits(data, bitorder="little").reshape(-1, scheme.bits)
        found = np.packbits(bits, axis=1, bitorder="little")
    wide = found.reshape(rows, groups, scheme.group_size).astype(np.float32)
    wide *= scales[..., None]
    wide += biases[..., None]
    return wide.reshape(rows, -1)
