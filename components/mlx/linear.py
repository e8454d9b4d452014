"""Linear layers and norms of encoders, as functions of their weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .matmul import on_cpu, product

Weights = Mapping[str, Any]


def linear(weights: Weights, name: str, x: Any) -> Any:
    """Map rows by the Linear of this name, whose weight is [out, in]."""
    return _affine(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))


def _affine(x: Any, weight: Any, bias: Any = None) -> Any:
    """Map rows [N, in] by a weight [out, in] and a bias [out], rounded once."""
    import mlx.core as mx

    if bias is not None and not on_cpu():
        return mx.addmm(bias, x, weight.T)
    y = product(x, weight.T)
    if bias is not None:
        y = y + bias
    return y.astype(x.dtype)


def layer_norm(weights: Weights, name: str, x: Any, eps: float) -> Any:
    """Normalize rows by the LayerNorm of this name, with a bias or without."""
    import mlx.core as mx

    return mx.fast.layer_norm(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), eps)
