"""Pack rows of a matrix as mx.quantize does, from bytes to bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

from composer.formats.quantization import Scheme

from .dtypes import mlx_dtype as to_dtype
from .loader import quantize_arguments

STORED = {"f32": np.float32, "f16": np.float16, "bf16": np.uint16}


def pack_rows(data: Any, dtype: str, columns: int, scheme: Scheme) -> tuple[bytes, ...]:
    """Return the bytes of weight, scales and biases of rows [N, columns] that are stored so.

    Rows are packed one by one, so that those of a large matrix may come in pieces.
    """
    import mlx.core as mx

    rows = mx.array(np.frombuffer(data, STORED[dtype]).reshape(-1, columns))
    parts = mx.quantize(rows.view(to_dtype(dtype)), **quantize_arguments(scheme))
    mx.eval(*parts)
    return tuple(np.array(part.view(mx.uint8)).tobytes() for part in parts)
