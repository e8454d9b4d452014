"""The blocks that networks are made of, which every backend implements.

An `Array` is the backend's own: MLX's, NumPy's, or a symbol of an ONNX graph in the making. It has
`+`, `-`, `*` and `/` with arrays and numbers. Weights are named as in the layout of their
checkpoint; a Linear's are [out, in], a convolution's [out, *kernel, in]. Lengths may be unknown
while a network is written, so that sizes come from settings and `reshape` takes one -1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from .attention import Attention

Array = Any


class Blocks(Protocol):
    """What a network may be made of."""

    def weight(self, name: str) -> Array:
        """Return a weight by its name in the layout."""

    def has(self, name: str) -> bool:
        """Return whether the checkpoint has a weight of this name."""

    def constant(self, value: np.ndarray) -> Array:
        """Return numbers that are known while the network is written."""

    def evaluate(self, x: Array) -> Array:
        """Return x computed, so that what it was made of can be freed."""

    def float32(self, x: Array) -> Array:
        """Return x in float32, in which sums of many terms are taken."""

    def like(self, x: Array, other: Array) -> Array:
        """Return x in the dtype of another array."""

    def linear(self, x: Array, name: str) -> Array:
        """Map rows [N, in] by `name.weight` [out, in], and `name.bias` [out] where it is stored."""

    def matmul(self, a: Array, b: Array) -> Array:
        """Multiply the matrices of the last two axes."""

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
        """Convolve x [*space, in] with `name.weight`, add `name.bias` where it is stored.

        With `batched` x is [N, *space, in], and each of the N is convolved by itself. With
        `depthwise` each channel is, by its row of `name.weight` [in, *kernel, 1].
        """

    def causal_depthwise(self, x: Array, name: str) -> Array:
        """Convolve each channel of x [T, C] by its row of `name.weight` [C, K, 1], up to itself."""

    def layer_norm(self, x: Array, name: str, eps: float) -> Array:
        """Normalize rows to mean 0 and variance 1, then apply `name.weight` and `name.bias`."""

    def rms_norm(self, x: Array, name: str | None, eps: float, offset: float = 0.0) -> Array:
        """Divide rows by their root mean square, then multiply by `name.weight`, where named.

        `offset` is added to that weight.
        """

    def attention(
        self,
        q: Array,
        k: Array,
        v: Array,
        num_heads: int,
        scale: float | None = None,
        bias: Array | None = None,
    ) -> Array:
        """Let every row [T, H D] attend to all: softmax(scale q k' + bias) v, head by head.

        The scale is 1 / sqrt(D) unless it is given; a bias is [H, T, T].
        """

    def softmax(self, x: Array) -> Array:
        """Return the softmax over the last axis."""

    def gelu(self, x: Array) -> Array:
        """Return x times the normal distribution function of x."""

    def gelu_tanh(self, x: Array) -> Array:
        """Return the approximation of gelu by tanh."""

    def silu(self, x: Array) -> Array:
        """Return x times its sigmoid."""

    def relu(self, x: Array) -> Array:
        """Return the larger of x and 0."""

    def tanh(self, x: Array) -> Array:
        """Return the hyperbolic tangent."""

    def sqrt(self, x: Array) -> Array:
        """Return the square root."""

    def softplus(self, x: Array) -> Array:
        """Return log(1 + exp(x))."""

    def glu(self, x: Array) -> Array:
        """Return the first half of the last axis times the sigmoid of the second."""

    def halves(self, x: Array) -> tuple[Array, Array]:
        """Return the first and the second half of the last axis."""

    def groups(self, x: Array, by: int, fill: float | None) -> Array:
        """Return the rows of x [N, W] in groups [G, by, W].

        What is left over at the end is filled up with rows of a number, or without one dropped.
        """

    def group_sizes(self, x: Array, by: int) -> Array:
        """Return how many rows of x each group has, [ceil(N / by), 1], were none filled up."""

    def sum(self, x: Array, axis: int) -> Array:
        """Return the sum over an axis, without it."""

    def max(self, x: Array, axis: int) -> Array:
        """Return the largest number over an axis, without it."""

    def clip(self, x: Array, low: Array | float, high: Array | float) -> Array:
        """Keep numbers within bounds."""

    def clip_to_dtype(self, x: Array, bound: float) -> Array:
        """Keep numbers within a bound and within what their dtype can hold."""

    def clip_float16(self, x: Array, bound: float) -> Array:
        """Keep float16 numbers within a bound; other dtypes stay as they are."""

    def where(self, condition: Array, x: Array, value: float) -> Array:
        """Return x where the condition is true, and a number elsewhere."""

    def reshape(self, x: Array, *shape: int) -> Array:
        """Return x in another shape; one length may be -1."""

    def transpose(self, x: Array, *axes: int) -> Array:
        """Return x with its axes in another order."""

    def expand(self, x: Array, axis: int) -> Array:
        """Return x with an axis of length 1 inserted."""

    def gather(self, x: Array, rows: Array) -> Array:
        """Return the rows of x at these numbers, as embeddings are looked up in their table."""

    def concat(self, parts: Sequence[Array]) -> Array:
        """Join arrays on the last axis."""

    def past(self, x: Array, size: int) -> Array:
        """Return for each row of x [T, ...] the last `size` rows up to it [T, size, ...].

        What would stand before the first row is 0.
        """

    def in_past(self, x: Array, size: int) -> Array:
        """Return which of the rows of `past` there are, bool [T, size]."""


class DecoderBlocks(Blocks, Protocol):
    """What a decoder needs besides: packed weights, and memory of the rows that came before.

    A weight that MLX has packed in 4 or 8 bits, by groups of a row, is multiplied as it is stored.
    """

    def linears(self, x: Array, names: Sequence[str]) -> list[Array]:
        """Map rows by several weights, which may be one product where they are stored alike."""

    def cached_attention(
        self,
        q: Array,
        k: Array,
        v: Array,
        layer: int,
        attn: Attention,
        ahead: Array | None = None,
    ) -> Array:
        """Let rows of queries [T, heads, head_dim] attend to all rows before and to themselves.

        Queries and keys are rotated by their positions first; then keys and values are added to
        those that the layer remembers. Heads may be side by side [T, heads head_dim], as they are
        in what is returned. With `ahead` [T] each row also sees the rows of its block, which are
        among these: those that end at the same row, so many behind each of them.
        """

    def chosen(self, x: Array) -> Array:
        """Return the rows whose logits are wanted: the last of a prompt, or all."""

    def chosen_attention(self, q: Array, layer: int, attn: Attention) -> Array:
        """Let queries of the chosen rows [R, heads, head_dim] attend to what a layer remembers.

        They are rotated by their positions, and see the keys and values of that layer up to them.
        """
