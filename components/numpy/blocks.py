"""The blocks in NumPy, in float32: short formulas, and no speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import erf, pi, sqrt

import numpy as np

from composer.core.calibration import OnInput

from ..checkpoints.lora.updates import LowRank
from ..models.blocks import Array

_ERF = np.frompyfunc(erf, 1, 1)


class NumpyBlocks:
    """A `Blocks` over weights in memory."""

    def __init__(
        self,
        weights: Mapping[str, Array],
        watched: Mapping[str, OnInput] | None = None,
        updates: Mapping[str, LowRank] | None = None,
    ) -> None:
        self.weights = weights
        self.watched = watched or {}
        self.updates = updates or {}

    def weight(self, name: str) -> Array:
        return self.weights[name]

    def has(self, name: str) -> bool:
        return name in self.weights

    def constant(self, value: Array) -> Array:
        return value

    def evaluate(self, x: Array) -> Array:
        return x

    def float32(self, x: Array) -> Array:
        return x

    def like(self, x: Array, other: Array) -> Array:
        return x

    def linear(self, x: Array, name: str) -> Array:
        if name in self.watched:
            self.watched[name](x.reshape(-1, x.shape[-1]))
        made = self._biased(x @ self.weight(f"{name}.weight").T, name)
        if name in self.updates:
            a, b = self.updates[name]
            made = made + x @ a @ b
        return made

    def matmul(self, a: Array, b: Array) -> Array:
        made: Array = a @ b
        return made

    def convolution(
        self,
        x: Array,
        name: str,
        *,
        stride: int = 1,
        padding: int = 0,
        batched: bool = False,
        depthwise: bool = False,
    ) -> Array:
        weight = self.weight(f"{name}.weight")
        kernel = weight.shape[1:-1]
        padded = np.pad(x, [(0, 0)] * batched + [*[(padding, padding)] * len(kernel), (0, 0)])
        axes = tuple(range(batched, batched + len(kernel)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, kernel, axes)
        for axis in axes:
            windows = windows[(slice(None),) * axis + (slice(None, None, stride),)]
        if depthwise:
            kernels = weight[..., 0].reshape(len(weight), -1)
            made = np.einsum(
                "...ck,ck->...c", windows.reshape(*windows.shape[: -len(kernel)], -1), kernels
            )
            return self._biased(made, name)
        rows = np.moveaxis(windows, batched + len(kernel), -1)  # [N, *space, *kernel, in]
        made = np.tensordot(rows, weight, (range(-len(kernel) - 1, 0), range(1, weight.ndim)))
        return self._biased(made, name)

    def causal_depthwise(self, x: Array, name: str) -> Array:
        weight = self.weight(f"{name}.weight")[:, :, 0]  # [C, K]
        return np.einsum("tkc,ck->tc", self.past(x, weight.shape[1]), weight)

    def layer_norm(self, x: Array, name: str, eps: float) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(-1, keepdims=True) + np.float32(eps))
        return self._biased(centred / spread * self.weight(f"{name}.weight"), name)

    def rms_norm(self, x: Array, name: str | None, eps: float, offset: float = 0.0) -> Array:
        normed = x / np.sqrt((x**2).mean(-1, keepdims=True) + np.float32(eps))
        if name is None:
            return normed
        return normed * (self.weight(f"{name}.weight") + np.float32(offset))

    def attention(
        self,
        q: Array,
        k: Array,
        v: Array,
        num_heads: int,
        scale: float | None = None,
        bias: Array | None = None,
    ) -> Array:
        q, k, v = (x.reshape(len(x), num_heads, -1).transpose(1, 0, 2) for x in (q, k, v))
        scale = scale or 1 / sqrt(q.shape[-1])
        logits = q @ k.transpose(0, 2, 1) * np.float32(scale)
        weights = self.softmax(logits if bias is None else logits + bias)
        return (weights @ v).transpose(1, 0, 2).reshape(q.shape[1], -1)

    def softmax(self, x: Array) -> Array:
        powers = np.exp(x - x.max(-1, keepdims=True))
        return powers / powers.sum(-1, keepdims=True)

    def gelu(self, x: Array) -> Array:
        return x * (1 + _ERF(x / np.float32(sqrt(2))).astype(x.dtype)) / 2

    def gelu_tanh(self, x: Array) -> Array:
        return x * (1 + np.tanh(np.float32(sqrt(2 / pi)) * (x + np.float32(0.044715) * x**3))) / 2

    def silu(self, x: Array) -> Array:
        return x * _sigmoid(x)

    def relu(self, x: Array) -> Array:
        return np.maximum(x, 0)

    def tanh(self, x: Array) -> Array:
        return np.tanh(x)

    def sqrt(self, x: Array) -> Array:
        return np.sqrt(x)

    def softplus(self, x: Array) -> Array:
        return np.logaddexp(x, np.float32(0))

    def glu(self, x: Array) -> Array:
        first, second = np.split(x, 2, axis=-1)
        return first * _sigmoid(second)

    def halves(self, x: Array) -> tuple[Array, Array]:
        first, second = np.split(x, 2, axis=-1)
        return first, second

    def groups(self, x: Array, by: int, fill: float | None) -> Array:
        if fill is None:
            x = x[: len(x) - len(x) % by]
        else:
            x = np.pad(x, [(0, -len(x) % by), (0, 0)], constant_values=fill)
        return x.reshape(-1, by, x.shape[1])

    def group_sizes(self, x: Array, by: int) -> Array:
        sizes = np.minimum(len(x) - np.arange(0, len(x), by), by)
        return sizes.astype(x.dtype)[:, None]

    def sum(self, x: Array, axis: int) -> Array:
        return x.sum(axis)

    def max(self, x: Array, axis: int) -> Array:
        return x.max(axis)

    def clip(self, x: Array, low: Array | float, high: Array | float) -> Array:
        return np.clip(x, low, high)

    def clip_to_dtype(self, x: Array, bound: float) -> Array:
        bound = min(bound, float(np.finfo(x.dtype).max))
        return np.clip(x, -bound, bound)

    def clip_float16(self, x: Array, bound: float) -> Array:
        return x

    def where(self, condition: Array, x: Array, value: float) -> Array:
        return np.where(condition, x, np.float32(value))

    def reshape(self, x: Array, *shape: int) -> Array:
        return x.reshape(shape)

    def transpose(self, x: Array, *axes: int) -> Array:
        return x.transpose(axes)

    def expand(self, x: Array, axis: int) -> Array:
        return np.expand_dims(x, axis)

    def gather(self, x: Array, rows: Array) -> Array:
        return x[rows]

    def concat(self, parts: Sequence[Array]) -> Array:
        return np.concatenate(parts, axis=-1)

    def past(self, x: Array, size: int) -> Array:
        padded = np.pad(x, [(size - 1, 0), *[(0, 0)] * (x.ndim - 1)])
        return padded[np.arange(len(x))[:, None] + np.arange(size)]

    def in_past(self, x: Array, size: int) -> Array:
        return np.arange(len(x))[:, None] + np.arange(size) >= size - 1

    def _biased(self, x: Array, name: str) -> Array:
        if not self.has(f"{name}.bias"):
            return x
        return x + self.weight(f"{name}.bias")


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))
