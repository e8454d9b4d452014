"""Whisper's speech encoder, as functions of its weights by their checkpoint's names.

The formulas are those of transformers' WhisperEncoder. Weights of convolutions are
[out, kernel, in], as MLX has them.
"""

from __future__ import annotations

from typing import Any

from .linear import Weights, linear
from .linear import layer_norm as normalized
from .product import attended, convolved

EPS = 1e-5
F16_MOST = 65504.0 - 1000.0  # transformers keeps float16 hidden states within this


def encode(weights: Weights, layers: int, heads: int, mel: Any) -> Any:
    """Map log-mel [M, 2W] to hidden states [W, d]."""
    import mlx.core as mx

    x = stem(weights, mel)
    for number in range(layers):
        x = layer(weights, number, heads, x)
        mx.eval(x)  # so that no layer's intermediate values outlive it
    return layer_norm(weights, "layer_norm", x)


def stem(weights: Weights, mel: Any) -> Any:
    """Map log-mel [M, 2W] to the first hidden states [W, d], with the positions of the file."""
    import mlx.nn

    nn: Any = mlx.nn
    x = mel.T
    for name, stride in (("conv1", 1), ("conv2", 2)):
        y = convolved(x, weights[f"{name}.weight"], stride=stride, padding=1)
        x = nn.gelu((y + weights[f"{name}.bias"]).astype(mel.dtype))
    return x + weights["embed_positions.weight"]


def layer(weights: Weights, number: int, heads: int, x: Any) -> Any:
    """Map hidden states [W, d] through one pre-norm block."""
    import mlx.core as mx
    import mlx.nn

    nn: Any = mlx.nn
    at = f"layers.{number}."
    x = x + attention(
        weights, f"{at}self_attn.", heads, layer_norm(weights, f"{at}self_attn_layer_norm", x)
    )
    inner = linear(weights, f"{at}fc1", layer_norm(weights, f"{at}final_layer_norm", x))
    x = x + linear(weights, f"{at}fc2", nn.gelu(inner))
    return mx.clip(x, -F16_MOST, F16_MOST) if x.dtype == mx.float16 else x


def attention(weights: Weights, at: str, heads: int, x: Any) -> Any:
    """Let every position [W, d] attend to all; keys have no bias."""

    length, width = x.shape
    q, k, v = (
        linear(weights, f"{at}{name}_proj", x)
        .reshape(length, heads, width // heads)
        .transpose(1, 0, 2)
        for name in "qkv"
    )
    out = attended(q, k, v, (width // heads) ** -0.5)
    out = out.astype(x.dtype).transpose(1, 0, 2).reshape(length, width)
    return linear(weights, f"{at}out_proj", out)


def layer_norm(weights: Weights, name: str, x: Any) -> Any:
    """Normalize rows by the LayerNorm of this name."""
    return normalized(weights, name, x, EPS)
