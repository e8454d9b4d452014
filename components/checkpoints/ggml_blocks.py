"""The block formats of GGUF files, dequantized as ggml does: to the bit.

Each function maps blocks uint8 [N, bytes] to float32 [N, elements]. Products come first, then the
difference, in float32; the formulas are those of ggml's dequantize_row_* in ggml-quants.c.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from composer.formats.gguf import BLOCKS
from composer.formats.quantization import Scheme
from composer.formats.safetensors import Tensor

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
SIZES = {name: (elements, size) for name, elements, size in BLOCKS.values() if elements > 1}
SYMMETRIC = "symmetric"  # a scheme whose middle code is 0, so that it needs no biases
GROUP = 32  # elements that have a scale of their own
PACKED = {
    "q4_0": (4, SYMMETRIC),
    "q4_1": (4, "affine"),
    "q5_0": (8, SYMMETRIC),
    "q5_1": (8, "affine"),
    "q8_0": (8, SYMMETRIC),
    "q4_k": (4, "affine"),
    "q5_k": (8, "affine"),
    "iq4_nl": (8, SYMMETRIC),
    "iq4_xs": (8, SYMMETRIC),
}  # those that are multiplied without being widened, five bits of them in eight
MIDDLE = {"q4_0": 8, "q4_1": 8, "q5_0": 16, "q5_1": 16, "q8_0": 128, "q4_k": 8, "q5_k": 16,
          "iq4_nl": 128, "iq4_xs": 128}  # fmt: skip
UNEVEN = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113])


def block_scheme(tensor: Tensor | None) -> Scheme | None:
    """Return the scheme of a tensor that is multiplied in its blocks' codes and scales."""
    if tensor is None or tensor.dtype not in PACKED:
        return None
    bits, mode = PACKED[tensor.dtype]
    return Scheme(bits, GROUP, mode)


def dequantize(raw: Bytes, dtype: str) -> Floats:
    """Return bytes uint8 [..., row bytes] of a block type as float32 [..., columns]."""
    elements, size = SIZES[dtype]
    blocks = raw.reshape(-1, size)
    found = _FORMATS[dtype](blocks)
    return found.reshape(*raw.shape[:-1], raw.shape[-1] // size * elements)


def packed_codes(raw: Bytes, dtype: str) -> Bytes:
    """Return rows of bytes [N, row bytes] as codes uint8 [N, G, B] around the middle code.

    Of four bits, the lower half of a byte is the element before that of the upper half.
    """
    codes = block_codes(raw, dtype)
    bits, _ = PACKED[dtype]
    if bits == 4:
        halves: Bytes = codes[..., 0::2] | codes[..., 1::2] << np.uint8(4)
        return halves
    return codes + np.uint8(128 - MIDDLE[dtype])


def block_codes(raw: Bytes, dtype: str) -> Bytes:
    """Return the codes of rows of bytes [N, row bytes] one by one as uint8 [N, G, 32]."""
    return _CODES[dtype](raw.reshape(-1, SIZES[dtype][1])).reshape(len(raw), -1, GROUP)


def packed_scales(raw: Bytes, dtype: str) -> Floats:
    """Return the scale of each group of rows of bytes [N, row bytes] as float32 [N, G]."""
    blocks = raw.reshape(-1, SIZES[dtype][1])
    scales = _half(blocks, 0)
    if dtype in K_TYPES:
        scales = scales * _six_bits(blocks[:, 4:16])[0]
    if dtype == "iq4_xs":
        scales = scales * _split_scales(blocks)
    return scales.reshape(len(raw), -1)


def block_midpoint_values(raw: Bytes, dtype: str) -> Floats:
    """Return what the middle code of each group stands for, float32 [N, G]."""
    return block_lowest(raw, dtype) + np.float32(MIDDLE[dtype]) * packed_scales(raw, dtype)


def block_lowest(raw: Bytes, dtype: str) -> Floats:
    """Return what the code 0 of each group stands for, float32 [N, G]."""
    if PACKED[dtype][1] == SYMMETRIC:
        return np.float32(-MIDDLE[dtype]) * packed_scales(raw, dtype)
    blocks = raw.reshape(-1, SIZES[dtype][1])
    lowest = _half(blocks, 2)
    if dtype in K_TYPES:
        lowest = -(lowest * _six_bits(blocks[:, 4:16])[1])
    return lowest.reshape(len(raw), -1)


def _half(blocks: Bytes, at: int) -> Floats:
    """Return the float16 at a byte of each block as float32 [N, 1]."""
    return np.ascontiguousarray(blocks[:, at : at + 2]).view("<f2").astype(np.float32)


def _nibbles(stored: Bytes, run: int = 16) -> Bytes:
    """Return codes [N, elements]: lower halves of each run of bytes, then their upper halves."""
    runs = stored.reshape(len(stored), -1, run)
    return np.concatenate([runs & 15, runs >> 4], axis=-1).reshape(len(stored), -1)


def _fifth_bits(blocks: Bytes, at: int) -> Bytes:
    """Return bit 4 of each of 32 elements: those of a word of 32 bits, from the lowest."""
    return np.unpackbits(blocks[:, at : at + 4], axis=1, bitorder="little") << np.uint8(4)


def _signed(codes: Bytes, middle: int) -> Floats:
    return codes.astype(np.float32) - np.float32(middle)


def _q5_k_codes(blocks: Bytes) -> Bytes:
    bits = np.arange(8, dtype=np.uint8).reshape(1, 8, 1)
    upper = (blocks[:, None, 16:48] >> bits & np.uint8(1)).reshape(-1, 256) << np.uint8(4)
    return _nibbles(blocks[:, 48:], run=32) | upper


def _uneven(stored: Bytes) -> Bytes:
    """Return the numbers that four bits stand for, around 128: they lie closer near the middle."""
    return (UNEVEN + 128).astype(np.uint8)[_nibbles(stored)]


def _split_scales(blocks: Bytes) -> Floats:
    """Return eight scales [N, 8]: four bits of each in one place and two in another, less 32."""
    low = np.stack([blocks[:, 4:8] & 15, blocks[:, 4:8] >> 4], axis=-1).reshape(-1, 8)
    word = blocks[:, 2:3].astype(np.uint16) | blocks[:, 3:4].astype(np.uint16) << 8
    high = word >> np.arange(0, 16, 2, dtype=np.uint16) & 3
    return _signed((low | high << 4).astype(np.uint8), 32)


_CODES: dict[str, Callable[[Bytes], Bytes]] = {
    "q4_0": lambda blocks: _nibbles(blocks[:, 2:]),
    "q4_1": lambda blocks: _nibbles(blocks[:, 4:]),
    "q5_0": lambda blocks: _nibbles(blocks[:, 6:]) | _fifth_bits(blocks, 2),
    "q5_1": lambda blocks: _nibbles(blocks[:, 8:]) | _fifth_bits(blocks, 4),
    "q8_0": lambda blocks: blocks[:, 2:] ^ np.uint8(128),
    "q4_k": lambda blocks: _nibbles(blocks[:, 16:], run=32),
    "q5_k": _q5_k_codes,
    "iq4_nl": lambda blocks: _uneven(blocks[:, 2:]),
    "iq4_xs": lambda blocks: _uneven(blocks[:, 8:]),
}  # uint8 [N, elements]
K_TYPES = ("q4_k", "q5_k")


def _around_middle(blocks: Bytes, dtype: str) -> Floats:
    """Return scale times code, the middle code being 0."""
    return _half(blocks, 0) * _signed(_CODES[dtype](blocks), MIDDLE[dtype])


def _from_lowest(blocks: Bytes, dtype: str) -> Floats:
    """Return scale times code plus the smallest number."""
    return _half(blocks, 0) * _signed(_CODES[dtype](blocks), 0) + _half(blocks, 2)


def _pairs(stored: Bytes) -> Bytes:
    """Return codes of two bits [N, 256]: of each 32 bytes their lowest, then the next."""
    runs = stored.reshape(len(stored), 2, 1, 32)
    shifts = np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1)
    return (runs >> shifts & np.uint8(3)).reshape(len(stored), 256)


def _q2_k(blocks: Bytes) -> Floats:
    scales, codes = blocks[:, :16], _pairs(blocks[:, 16:80]).reshape(-1, 16, 16)
    steps = _half(blocks, 80) * (scales & 15).astype(np.float32)
    lowest = _half(blocks, 82) * (scales >> 4).astype(np.float32)
    return (steps[..., None] * codes.astype(np.float32) - lowest[..., None]).reshape(-1, 256)


def _q3_k(blocks: Bytes) -> Floats:
    masks, codes, packed = blocks[:, :32], _pairs(blocks[:, 32:96]), blocks[:, 96:108]
    bits = np.arange(8, dtype=np.uint8).reshape(1, 8, 1)
    upper = (masks[:, None] >> bits & 1).reshape(-1, 256)
    values = (codes.astype(np.int8) - (4 * (1 - upper)).astype(np.int8)).reshape(-1, 16, 16)
    low = np.concatenate([packed[:, :8] & 15, packed[:, :8] >> 4], axis=1)
    shifts = np.array([0, 2, 4, 6], np.uint8).reshape(1, 4, 1)
    high = (packed[:, None, 8:] >> shifts & 3).reshape(-1, 16)
    steps = _half(blocks, 108) * _signed(low | high << 4, 32)
    return (steps[..., None] * values.astype(np.float32)).reshape(-1, 256)


def _six_bits(packed: Bytes) -> tuple[Floats, Floats]:
    """Return eight scales and eight minima [N, 8] of 12 bytes."""
    first, second, last = packed[:, :4], packed[:, 4:8], packed[:, 8:]
    scales = np.concatenate([first & 63, last & 15 | first >> 6 << 4], axis=1)
    lowest = np.concatenate([second & 63, last >> 4 | second >> 6 << 4], axis=1)
    return scales.astype(np.float32), lowest.astype(np.float32)


def _with_minima(blocks: Bytes, dtype: str) -> Floats:
    """Return scale times code minus minimum, in eights of a block."""
    scales, lowest = _six_bits(blocks[:, 4:16])
    steps = (_half(blocks, 0) * scales)[..., None]
    shift = (_half(blocks, 2) * lowest)[..., None]
    codes = _CODES[dtype](blocks).reshape(-1, 8, 32).astype(np.float32)
    return (steps * codes - shift).reshape(-1, 256)


def _iq4_xs(blocks: Bytes) -> Floats:
    steps = (_half(blocks, 0) * _split_scales(blocks))[..., None]
    codes = _signed(_CODES["iq4_xs"](blocks), 128).reshape(-1, 8, 32)
    return (steps * codes).reshape(-1, 256)


def _q6_k(blocks: Bytes) -> Floats:
    low = _nibbles(blocks[:, :128], run=64)
    shifts = np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1)
    high = (blocks[:, 128:192].reshape(-1, 2, 1, 32) >> shifts & np.uint8(3)).reshape(-1, 256)
    scales = np.ascontiguousarray(blocks[:, 192:208]).view(np.int8).astype(np.float32)
    steps = (_half(blocks, 208) * scales)[..., None]
    return (steps * _signed(low | high << np.uint8(4), 32).reshape(-1, 16, 16)).reshape(-1, 256)


_FORMATS: dict[str, Callable[[Bytes], Floats]] = {
    "q4_0": partial(_around_middle, dtype="q4_0"),
    "q4_1": partial(_from_lowest, dtype="q4_1"),
    "q5_0": partial(_around_middle, dtype="q5_0"),
    "q5_1": partial(_from_lowest, dtype="q5_1"),
    "q8_0": partial(_around_middle, dtype="q8_0"),
    "q2_k": _q2_k,
    "q3_k": _q3_k,
    "q4_k": partial(_with_minima, dtype="q4_k"),
    "q5_k": partial(_with_minima, dtype="q5_k"),
    "q6_k": _q6_k,
    "iq4_nl": partial(_around_middle, dtype="iq4_nl"),
    "iq4_xs": _iq4_xs,
}
