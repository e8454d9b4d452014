"""Gemma-4's audio tower as functions of its weights by their checkpoint's names.

The formulas are those of transformers' Gemma4AudioModel and its multimodal embedder, for one clip
without padding. Weights of convolutions are [out, *kernel, in], as MLX has them.
"""

from __future__ import annotations

import math
from typing import Any

from ...checkpoints.gemma4_audio.layout import BOUNDS, EMBED, TOWER
from ...checkpoints.gemma4_audio.settings import Settings
from ..linear import Weights, layer_norm, linear
from ..product import convolved, product

EPS = 1e-6
SCALES = 10_000.0  # the longest of the relative positions' timescales, in frames


def encode(weights: Weights, layers: int, settings: Settings, mel: Any) -> Any:
    """Map log-mel [F, M] to rows [ceil(F / 4), D] of the decoder's scaled embeddings."""
    import mlx.core as mx

    x = subsample(weights, settings, mel)
    for number in range(layers):
        x = layer(weights, f"{TOWER}layers.{number}.", settings, x)
        mx.eval(x)  # so that no layer's intermediate values outlive it
    return project(weights, settings, x)


def subsample(weights: Weights, settings: Settings, mel: Any) -> Any:
    """Map log-mel [F, M] to hidden states [ceil(F / 4), d]: two convolutions and a Linear.

    The Linear takes a frame's numbers with the channels innermost.
    """
    import mlx.core as mx

    at = f"{TOWER}subsample_conv_projection."
    x = mel[:, :, None]
    for name in (f"{at}layer0", f"{at}layer1"):
        y = convolved(x, weights[f"{name}.conv.weight"], stride=2, padding=1)
        normed = layer_norm(weights, f"{name}.norm", y.astype(mel.dtype), settings.eps)
        x = mx.maximum(normed, 0)
    return linear(weights, f"{at}input_proj_linear", x.reshape(len(x), -1))


def layer(weights: Weights, at: str, settings: Settings, x: Any) -> Any:
    """Map hidden states [T, d] through one macaron block."""
    x = feed_forward(weights, f"{at}feed_forward1.", settings, x)
    y = rms_norm(weights, f"{at}norm_pre_attn", held(x, settings))
    y = attention(weights, f"{at}self_attn.", settings, y)
    x = x + rms_norm(weights, f"{at}norm_post_attn", held(y, settings))
    x = convolution(weights, f"{at}lconv1d.", settings, x)
    x = feed_forward(weights, f"{at}feed_forward2.", settings, x)
    return rms_norm(weights, f"{at}norm_out", held(x, settings))


def feed_forward(weights: Weights, at: str, settings: Settings, x: Any) -> Any:
    """Add half of a feed-forward layer's output, normalized before and after."""
    import mlx.nn

    nn: Any = mlx.nn
    y = rms_norm(weights, f"{at}pre_layer_norm", held(x, settings))
    y = nn.silu(clipped(weights, f"{at}ffw_layer_1", y))
    y = held(clipped(weights, f"{at}ffw_layer_2", y), settings)
    return x + rms_norm(weights, f"{at}post_layer_norm", y) * settings.residual


def attention(weights: Weights, at: str, settings: Settings, x: Any) -> Any:
    """Let every frame [T, d] attend to itself and to `past` frames before it, in float32.

    A key at a distance is the frame's own plus one that the distance alone makes.
    """
    import mlx.core as mx
    import mlx.nn

    nn: Any = mlx.nn
    length, width = x.shape
    scale = weights[f"{at}per_dim_scale"].astype(mx.float32)
    head, window = scale.shape[0], settings.past + 1
    q, k, v = (
        clipped(weights, f"{at}{name}_proj", x).astype(mx.float32).reshape(length, -1, head)
        for name in "qkv"
    )
    q = q * (head**-0.5 / math.log(2)) * nn.softplus(scale)
    k = k * (math.log(1 + math.e) / math.log(2))
    distances = mx.arange(settings.past, -1, -1)
    far = linear(weights, f"{at}relative_k_proj", sinusoids(distances, width).astype(x.dtype))
    near = mx.arange(length)[:, None] + mx.arange(window)  # of keys that begin `past` early
    padding = [(settings.past, 0), (0, 0), (0, 0)]
    keys, values = (mx.pad(each, padding)[near].transpose(0, 2, 1, 3) for each in (k, v))
    far = far.astype(mx.float32).reshape(window, -1, head).transpose(1, 2, 0)
    logits = product(q[:, :, None], keys.transpose(0, 1, 3, 2))[:, :, 0]
    logits = logits + product(q.transpose(1, 0, 2), far).transpose(1, 0, 2)
    logits = mx.tanh(logits / settings.cap) * settings.cap
    logits = mx.where((near >= settings.past)[:, None], logits, -mx.inf)
    shares = mx.softmax(logits, axis=-1)
    heard = product(shares[:, :, None], values).reshape(length, width)
    return clipped(weights, f"{at}post", heard.astype(x.dtype))


def sinusoids(distances: Any, width: int) -> Any:
    """Return [sin | cos] of distances [N] at width / 2 timescales, float32 [N, width]."""
    import mlx.core as mx

    count = width // 2
    rates = mx.exp(mx.arange(count) * -(math.log(SCALES) / max(count - 1, 1)))
    angles = distances[:, None] * rates
    return mx.concatenate([mx.sin(angles), mx.cos(angles)], axis=-1)


def convolution(weights: Weights, at: str, settings: Settings, x: Any) -> Any:
    """Add a gated convolution over each channel, in which no frame hears a later one."""
    import mlx.core as mx
    import mlx.nn

    nn: Any = mlx.nn
    y = mx.fast.rms_norm(x, weights[f"{at}pre_layer_norm.weight"], settings.eps)
    y = nn.glu(clipped(weights, f"{at}linear_start", y))
    weight = weights[f"{at}depthwise_conv1d.weight"]
    y = mx.pad(y, [(weight.shape[1] - 1, 0), (0, 0)])[None]
    y = mx.conv1d(y, weight, groups=weight.shape[0])[0]
    y = mx.fast.rms_norm(held(y, settings), weights[f"{at}conv_norm.weight"], settings.eps)
    return x + clipped(weights, f"{at}linear_end", nn.silu(y))


def project(weights: Weights, settings: Settings, x: Any) -> Any:
    """Map hidden states [T, d] to rows [T, D] as they stand among scaled embeddings."""
    import mlx.core as mx

    x = mx.fast.rms_norm(linear(weights, f"{TOWER}output_proj", x), None, settings.eps)
    return linear(weights, f"{EMBED}embedding_projection", x)


def clipped(weights: Weights, name: str, x: Any) -> Any:
    """Map rows by a Linear whose input and output stay within its bounds, where it has any."""
    import mlx.core as mx

    bounds = [weights.get(f"{name}.{bound}") for bound in BOUNDS]
    if bounds[0] is not None:
        x = mx.clip(x, bounds[0], bounds[1])
    y = linear(weights, f"{name}.linear", x)
    return y if bounds[0] is None else mx.clip(y, bounds[2], bounds[3])


def held(x: Any, settings: Settings) -> Any:
    """Keep hidden states within what the config allows, and within their dtype."""
    import mlx.core as mx

    most = min(settings.most, mx.finfo(x.dtype).max)
    return mx.clip(x, -most, most)


def rms_norm(weights: Weights, name: str, x: Any) -> Any:
    """Normalize rows by the RMSNorm of this name."""
    import mlx.core as mx

    return mx.fast.rms_norm(x, weights[f"{name}.weight"], EPS)
