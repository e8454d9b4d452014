"""Linear layers and norms, as functions of weights by their checkpoint's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Weights = Mapping[str, Any]


def linear(weights: Weights, name: str, x: Any) -> Any:
    """Map rows by the Linear of this name, whose weight is [out, in]."""
    import mlx.core as mx

    dtype, bias = x.dtype, weights.get(f"{name}.bias")
    x, weight = wide(x, weights[f"{name}.weight"])
    y = x @ weight.T if bias is None else mx.addmm(wide(bias)[0], x, weight.T)
    return y.astype(dtype)


def layer_norm(weights: Weights, name: str, x: Any, eps: float) -> Any:
    """Normalize rows by the LayerNorm of this name, with a bias or without."""
    import mlx.core as mx

    return mx.fast.layer_norm(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), eps)


def wide(*values: Any) -> tuple[Any, ...]:
    """Return values in float32 where the device is a CPU, and unchanged elsewhere.

    There MLX multiplies float16 and bfloat16 without BLAS, many times slower. A product is then
    rounded once, as a GPU does that sums in float32.
    """
    import mlx.core as mx

    if mx.default_device().type != mx.cpu:
        return values
    return tuple(value.astype(mx.float32) for value in values)
