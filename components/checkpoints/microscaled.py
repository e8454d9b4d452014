"""The packings of small floats of mx.quantize: mxfp4, mxfp8 and nvfp4.

Formats of OCP's Microscaling v1.0: E2M1 and E4M3 elements with E8M0 scales, a power of two; nvfp4
has E4M3 scales. Every number that they stand for is exact in float32.
"""

from __future__ import annotations

import numpy as np

from composer.formats.quantization import Scheme

E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)
E2M1 = np.concatenate([E2M1, -E2M1])


def _e4m3() -> np.ndarray:
    """Return the number of each of the 256 codes: it has no infinity, and one NaN by sign."""
    codes = np.arange(128)
    exponent, mantissa = codes >> 3, (codes & 7) / 8
    normal = 2.0 ** (exponent - 7) * (1 + mantissa)
    numbers = np.where(exponent == 0, 2.0**-6 * mantissa, normal)
    numbers[127] = np.nan
    return np.concatenate([numbers, -numbers]).astype(np.float32)


E4M3 = _e4m3()


def dequantize(weight: np.ndarray, scales: np.ndarray, scheme: Scheme) -> np.ndarray:
    """Return packed rows uint32 [N, K bits / 32] with scales uint8 [N, G] as float32 [N, K]."""
    codes = np.ascontiguousarray(weight, "<u4").view(np.uint8)
    nibbles = np.stack([codes & 15, codes >> 4], axis=-1)
    numbers = E2M1[nibbles] if scheme.bits == 4 else E4M3[codes]
    if scheme.mode == "nvfp4":
        steps = E4M3[scales]
    else:
        steps = np.ldexp(np.float32(1), scales.astype(np.int32) - 127)
    wide: np.ndarray = numbers.reshape(*scales.shape, scheme.group_size) * steps[..., None]
    return wide.reshape(len(weight), -1)
