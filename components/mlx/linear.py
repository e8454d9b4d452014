"""Linear layers and norms of encoders, as functions of their weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from composer.formats.quantization import Scheme

from .loader import quantize_arguments
from .matmul import multiplies_with_numpy, product, runs_on_cpu, to_float32_on_cpu

Weights = Mapping[str, Any]


def linear(weights: Weights, name: str, x: Any) -> Any:
    """Map rows by the Linear of this name, whose weight is [out, in]."""
    return _affine(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))


def packed_linear(weights: Weights, name: str, x: Any, scheme: Scheme) -> Any:
    """Map rows by a Linear whose weight is packed.

    MLX's packed product for Linux CPUs is slow too, so there rows are unpacked and multiplied.
    """
    import mlx.core as mx

    if multiplies_with_numpy():
        return _affine(x, dequantized(weights, name, scheme), weights.get(f"{name}.bias"))
    (wide,) = to_float32_on_cpu(x)
    scales, biases = weights[f"{name}.scales"], weights.get(f"{name}.biases")
    y = mx.quantized_matmul(
        wide,
        weights[f"{name}.weight"],
        scales,
        biases,
        transpose=True,
        **quantize_arguments(scheme),
    )
    if f"{name}.bias" in weights:
        y = y + weights[f"{name}.bias"]
    return y.astype(x.dtype)


def dequantized(weights: Weights, name: str, scheme: Scheme) -> Any:
    """Return the weight of a packed Linear as floats, in the dtype of its scales."""
    import mlx.core as mx

    scales, biases = weights[f"{name}.scales"], weights.get(f"{name}.biases")
    return mx.dequantize(weights[f"{name}.weight"], scales, biases, **quantize_arguments(scheme))


def _affine(x: Any, weight: Any, bias: Any = None) -> Any:
    """Map rows [N, in] by a weight [out, in] and a bias [out], rounded once."""
    import mlx.core as mx

    if bias is not None and not runs_on_cpu():
        return mx.addmm(bias, x, weight.T)
    y = product(x, weight.T)
    if bias is not None:
        y = y + bias
    return y.astype(x.dtype)


def layer_norm(weights: Weights, name: str, x: Any, eps: float) -> Any:
    """Normalize rows by the LayerNorm of this name, with a bias or without."""
    import mlx.core as mx

    return mx.fast.layer_norm(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"), eps)
