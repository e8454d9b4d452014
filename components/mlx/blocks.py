"""The blocks in MLX: executed eagerly, in the dtype of the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from composer.core.calibration import OnInput
from composer.formats.quantization import Scheme

from .linear import dequantized, layer_norm, linear, packed_linear
from .matmul import attention, convolve, convolve_channels, product


class MlxBlocks:
    """A `Blocks` over MLX weights; `product` chooses how to multiply (decision 012).

    `schemes` are those of the modules that are packed. What goes into Linears that are `watched`
    is passed on; `updates` are A and B of those that are adapted, in float32.
    """

    def __init__(
        self,
        weights: Mapping[str, Any],
        schemes: Mapping[str, Scheme] | None = None,
        watched: Mapping[str, OnInput] | None = None,
        updates: Mapping[str, tuple[Any, Any]] | None = None,
    ) -> None:
        import mlx.core
        import mlx.nn

        self.mx: Any = mlx.core
        self.nn: Any = mlx.nn
        self.weights = weights
        self.schemes = schemes or {}
        self.watched = watched or {}
        self.updates = updates or {}

    def weight(self, name: str) -> Any:
        path, _, part = name.rpartition(".")
        if part == "weight" and path in self.schemes:
            return dequantized(self.weights, path, self.schemes[path])
        return self.weights[name]

    def has(self, name: str) -> bool:
        return name in self.weights

    def constant(self, value: np.ndarray) -> Any:
        return self.mx.array(value)

    def evaluate(self, x: Any) -> Any:
        self.mx.eval(x)
        return x

    def float32(self, x: Any) -> Any:
        return x.astype(self.mx.float32)

    def like(self, x: Any, other: Any) -> Any:
        return x.astype(other.dtype)

    def linear(self, x: Any, name: str) -> Any:
        if name in self.watched:
            rows = x.reshape(-1, x.shape[-1]).astype(self.mx.float32)
            self.watched[name](np.array(rows))
        if name in self.schemes:
            made = packed_linear(self.weights, name, x, self.schemes[name])
        else:
            made = linear(self.weights, name, x)
        if name not in self.updates:
            return made
        a, b = self.updates[name]
        return made + product(product(self.float32(x), a), b).astype(made.dtype)

    def matmul(self, a: Any, b: Any) -> Any:
        return product(a, b)

    def convolution(
        self,
        x: Any,
        name: str,
        *,
        stride: int = 1,
        padding: int = 0,
        batched: bool = False,
        depthwise: bool = False,
    ) -> Any:
        if not batched:
            x = x[None]
        convolve_all = convolve_channels if depthwise else convolve
        y = convolve_all(x, self.weight(f"{name}.weight"), stride=stride, padding=padding)
        if not batched:
            y = y[0]
        if self.has(f"{name}.bias"):
            y = y + self.weight(f"{name}.bias")
        return y

    def causal_depthwise(self, x: Any, name: str) -> Any:
        weight = self.weight(f"{name}.weight")
        padded = self.mx.pad(x, [(weight.shape[1] - 1, 0), (0, 0)])[None]
        return self.mx.conv1d(padded, weight, groups=weight.shape[0])[0]

    def layer_norm(self, x: Any, name: str, eps: float) -> Any:
        return layer_norm(self.weights, name, x, eps)

    def rms_norm(self, x: Any, name: str | None, eps: float, offset: float = 0.0) -> Any:
        weight = None if name is None else self.weight(f"{name}.weight")
        if weight is not None and offset:
            weight = weight + offset
        return self.mx.fast.rms_norm(x, weight, eps)

    def attention(
        self,
        q: Any,
        k: Any,
        v: Any,
        num_heads: int,
        scale: float | None = None,
        bias: Any = None,
    ) -> Any:
        length, width = q.shape
        size = width // num_heads
        q, k, v = (x.reshape(-1, num_heads, size).transpose(1, 0, 2) for x in (q, k, v))
        context = attention(q, k, v, scale or size**-0.5, bias)
        return context.transpose(1, 0, 2).reshape(length, width)

    def softmax(self, x: Any) -> Any:
        return self.mx.softmax(x, axis=-1)

    def gelu(self, x: Any) -> Any:
        return self.nn.gelu(x)

    def gelu_tanh(self, x: Any) -> Any:
        return self.nn.gelu_approx(x)

    def silu(self, x: Any) -> Any:
        return self.nn.silu(x)

    def relu(self, x: Any) -> Any:
        return self.mx.maximum(x, 0)

    def tanh(self, x: Any) -> Any:
        return self.mx.tanh(x)

    def sqrt(self, x: Any) -> Any:
        return self.mx.sqrt(x)

    def softplus(self, x: Any) -> Any:
        return self.nn.softplus(x)

    def glu(self, x: Any) -> Any:
        return self.nn.glu(x)

    def halves(self, x: Any) -> tuple[Any, Any]:
        first, second = self.mx.split(x, 2, axis=-1)
        return first, second

    def groups(self, x: Any, by: int, fill: float | None) -> Any:
        if fill is None:
            x = x[: len(x) - len(x) % by]
        else:
            x = self.mx.pad(x, [(0, -len(x) % by), (0, 0)], constant_values=fill)
        return x.reshape(-1, by, x.shape[1])

    def group_sizes(self, x: Any, by: int) -> Any:
        sizes = self.mx.minimum(len(x) - self.mx.arange(0, len(x), by), by)
        return self.mx.expand_dims(sizes.astype(x.dtype), 1)

    def sum(self, x: Any, axis: int) -> Any:
        return x.sum(axis)

    def max(self, x: Any, axis: int) -> Any:
        return x.max(axis)

    def clip(self, x: Any, low: Any, high: Any) -> Any:
        return self.mx.clip(x, low, high)

    def clip_to_dtype(self, x: Any, bound: float) -> Any:
        bound = min(bound, self.mx.finfo(x.dtype).max)
        return self.mx.clip(x, -bound, bound)

    def clip_float16(self, x: Any, bound: float) -> Any:
        if x.dtype != self.mx.float16:
            return x
        return self.mx.clip(x, -bound, bound)

    def where(self, condition: Any, x: Any, value: float) -> Any:
        return self.mx.where(condition, x, value)

    def reshape(self, x: Any, *shape: int) -> Any:
        return x.reshape(*shape)

    def transpose(self, x: Any, *axes: int) -> Any:
        return x.transpose(*axes)

    def expand(self, x: Any, axis: int) -> Any:
        return self.mx.expand_dims(x, axis)

    def gather(self, x: Any, rows: Any) -> Any:
        return x[rows]

    def concat(self, parts: Sequence[Any]) -> Any:
        return self.mx.concatenate(parts, axis=-1)

    def past(self, x: Any, size: int) -> Any:
        padded = self.mx.pad(x, [(size - 1, 0), *[(0, 0)] * (x.ndim - 1)])
        return padded[self.mx.arange(len(x))[:, None] + self.mx.arange(size)]

    def in_past(self, x: Any, size: int) -> Any:
        return self.mx.arange(len(x))[:, None] + self.mx.arange(size) >= size - 1
