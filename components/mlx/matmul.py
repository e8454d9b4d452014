"""Matrix products of an encoder: MLX's own, or NumPy's where MLX has no fast BLAS.

MLX's wheel for Linux multiplies on one core of a CPU, some thirty times slower than the BLAS that
NumPy uses. There an encoder's products are NumPy's, in float32, on the memory of MLX's arrays.
A product is then rounded once, as a GPU does that sums in float32.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np


def multiplies_with_numpy() -> bool:
    """Return whether products use NumPy: on Linux CPUs, where MLX has no fast BLAS."""
    return sys.platform == "linux" and runs_on_cpu()


def runs_on_cpu() -> bool:
    """Return whether the device is a CPU."""
    import mlx.core as mx

    return bool(mx.default_device().type == mx.cpu)


def to_float32_on_cpu(*values: Any) -> tuple[Any, ...]:
    """Convert values to float32 on a CPU; return them unchanged elsewhere."""
    import mlx.core as mx

    if not runs_on_cpu():
        return values
    return tuple(value.astype(mx.float32) for value in values)


def product(a: Any, b: Any) -> Any:
    """Return a @ b of matrices: on a CPU in float32, elsewhere in their dtype."""
    import mlx.core as mx

    a, b = to_float32_on_cpu(a, b)
    if multiplies_with_numpy():
        return mx.array(np.asarray(a) @ np.asarray(b))
    return a @ b


def convolve(x: Any, weight: Any, *, stride: int = 1, padding: int = 0) -> Any:
    """Convolve x [N, *space, in] with a weight [out, *kernel, in], padded on both sides."""
    import mlx.core as mx

    x, weight = to_float32_on_cpu(x, weight)
    if not multiplies_with_numpy():
        return mx.conv_general(x, weight, stride=stride, padding=padding)
    space = len(weight.shape) - 2
    padded = np.pad(np.asarray(x), [(0, 0), *[(padding, padding)] * space, (0, 0)])
    axes = tuple(range(1, space + 1))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[1:-1], axes)
    windows = windows[:, *(slice(None, None, stride),) * space]  # [N, *space, in, *kernel]
    rows = np.moveaxis(windows, space + 1, -1).reshape(-1, weight[0].size)
    made = rows @ np.asarray(weight).reshape(weight.shape[0], -1).T
    return mx.array(made.reshape(*windows.shape[: space + 1], -1))


def convolve_channels(x: Any, weight: Any, *, stride: int = 1, padding: int = 0) -> Any:
    """Convolve each channel of x [N, *space, C] by its row of a weight [C, *kernel, 1]."""
    import mlx.core as mx

    x, weight = to_float32_on_cpu(x, weight)
    return mx.conv_general(x, weight, stride=stride, padding=padding, groups=len(weight))


def attention(q: Any, k: Any, v: Any, scale: float, bias: Any = None) -> Any:
    """Return softmax(scale q k' + bias) v of heads [H, T, D], every position attending to all.

    A bias is [H, T, T].
    """
    import mlx.core as mx

    q, k, v = to_float32_on_cpu(q, k, v)
    if not multiplies_with_numpy():
        mask = None if bias is None else bias[None].astype(q.dtype)
        out: Any = mx.fast.scaled_dot_product_attention(
            q[None], k[None], v[None], scale=scale, mask=mask
        )
        return out[0]
    found = []
    biases: Any = [None] * len(q)
    if bias is not None:
        biases = np.asarray(*to_float32_on_cpu(bias))
    # One head after the other, since their logits are large.
    for queries, keys, values, added in zip(*map(np.asarray, (q, k, v)), biases, strict=True):
        logits = (queries * np.float32(scale)) @ keys.T
        if added is not None:
            logits += added
        logits -= logits.max(axis=-1, keepdims=True)
        np.exp(logits, out=logits)
        logits /= logits.sum(axis=-1, keepdims=True)
        found.append(logits @ values)
    return mx.array(np.stack(found))
