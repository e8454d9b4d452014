"""Messages between a process and its child: an object of JSON, and arrays behind it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np

MOST_WORDS = 100_000_000  # bytes of the JSON
DTYPES = {f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)}
DTYPES |= {"float16", "float32", "float64", "bool"}

Arrays = Mapping[str, np.ndarray]
Read = Callable[[int], bytes]


def pack_message(
    words: Mapping[str, Any], arrays: Arrays | None = None
) -> list[bytes | memoryview]:
    """Return a message as pieces to be written one after another."""
    forms, bodies = [], []
    for name, value in (arrays or {}).items():
        array = np.asarray(value, order="C")
        forms.append([name, array.dtype.name, list(array.shape)])
        if array.size:
            bodies.append(array.reshape(-1).view(np.uint8).data)
    head = json.dumps({"words": words, "arrays": forms}).encode()
    return [len(head).to_bytes(8, "little"), head, *bodies]


def unpack_message(read: Read, most: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read a message of at most so many bytes; raise ValueError for what is none.

    `read` returns exactly as many bytes as it is asked for.
    """
    size = int.from_bytes(read(8), "little")
    if size > MOST_WORDS:
        raise ValueError(f"a message of {size} bytes")
    content = json.loads(read(size))
    arrays: dict[str, np.ndarray] = {}
    for name, dtype, shape in content["arrays"]:
        if dtype not in DTYPES or not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError(f"an array of {dtype} {shape}")
        nbytes = prod(shape) * np.dtype(dtype).itemsize
        most -= nbytes
        if most < 0:
            raise ValueError(f"an array of {nbytes} bytes")
        arrays[str(name)] = np.frombuffer(bytearray(read(nbytes)), dtype).reshape(shape)
    return content["words"], arrays
