"""Pack rows in the affine form of mx.quantize, bit for bit, without MLX."""

from __future__ import annotations

from typing import Any

import numpy as np

from composer.core.backend import widen
from composer.formats.quantization import Scheme

STORED = {"f32": "<f4", "f16": "<f2", "bf16": "<u2"}
LEAST = np.float32(1e-7)  # of a scale


def quantize(
    rows: np.ndarray, scheme: Scheme, dtype: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weight uint32 [N, K bits / 32], scales and biases float32 [N, G] of rows [N, K].

    Scales and biases are rounded to a dtype, that of what is stored. A group's number of largest
    magnitude is a multiple of its scale, so that it and zero are exact before that rounding.
    """
    codes, scales, biases = round_to_codes(rows, scheme, dtype)
    return pack_codes(codes, scheme.bits), scales, biases


def round_to_codes(
    rows: np.ndarray, scheme: Scheme, dtype: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what `quantize` does, with the codes uint8 [N, G, size] one by one."""
    groups = rows.astype(np.float32, copy=False).reshape(len(rows), -1, scheme.group_size)
    scales, biases = steps(groups, scheme.bits)
    codes = np.rint((groups - biases[..., None]) / scales[..., None])
    codes = np.clip(codes, 0, 2**scheme.bits - 1).astype(np.uint8)
    return codes, rounded(scales, dtype), rounded(biases, dtype)


def round_rows(rows: np.ndarray, scheme: Scheme, dtype: str) -> np.ndarray:
    """Return rows [N, K] as they are read once they are packed."""
    codes, scales, biases = round_to_codes(rows, scheme, dtype)
    found: np.ndarray = (codes * scales[..., None] + biases[..., None]).reshape(rows.shape)
    return found


def steps(groups: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the scale and the bias of each group of numbers [N, G, size]."""
    low, high = groups.min(-1), groups.max(-1)
    below = abs(low) > abs(high)
    scales = np.maximum((high - low) / np.float32(2**bits - 1), LEAST)
    scales = np.where(below, scales, -scales)
    edges = np.where(below, low, high)
    counts = np.rint(edges / scales)
    exact = counts != 0
    scales = np.where(exact, edges / np.where(exact, counts, 1), scales)
    return scales, np.where(exact, edges, np.float32(0))


def pack_codes(codes: np.ndarray, bits: int) -> np.ndarray:
    """Return codes [N, G, size] one after another from the lowest bit on, as words [N, W]."""
    rows = len(codes)
    if bits == 8:
        data = codes
    else:
        every = np.unpackbits(codes[..., None], axis=-1, bitorder="little")[..., :bits]
        data = np.packbits(every.reshape(rows, -1), axis=1, bitorder="little")
    return np.ascontiguousarray(data).reshape(rows, -1).view("<u4")


def rounded(numbers: np.ndarray, dtype: str) -> np.ndarray:
    """Return float32 numbers as a dtype has them, float32 again."""
    return widen(stored(numbers, dtype), dtype)


def stored(numbers: np.ndarray, dtype: str) -> np.ndarray:
    """Return float32 numbers rounded to a dtype, as they are stored: bfloat16 as its bits."""
    if dtype != "bf16":
        return numbers.astype(STORED[dtype])
    bits = numbers.astype(np.float32, copy=False).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def pack(data: Any, dtype: str, columns: int, scheme: Scheme) -> tuple[bytes, ...]:
    """Return the bytes of weight, scales and biases of rows [N, columns] that are stored so.

    Rows are packed one by one, so that those of a large matrix may come in pieces.
    """
    rows = float_rows(data, dtype, columns)
    return stored_parts(*quantize(rows, scheme, dtype), dtype)


def float_rows(data: Any, dtype: str, columns: int) -> np.ndarray:
    """Return stored rows as float32 [N, columns]."""
    return widen(np.frombuffer(data, STORED[dtype]).reshape(-1, columns), dtype)


def stored_parts(
    weight: np.ndarray, scales: np.ndarray, biases: np.ndarray, dtype: str
) -> tuple[bytes, ...]:
    """Return the bytes that packed rows are stored as, scales and biases in a dtype."""
    return weight.tobytes(), stored(scales, dtype).tobytes(), stored(biases, dtype).tobytes()
