"""Gemma-4's audio tower: a convolutional stem, conformer blocks and a projection.

The formulas are those of transformers' Gemma4AudioModel and its multimodal embedder, for one clip
without padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from composer.core.component import Facts, Spec, method
from composer.core.family import Family
from composer.formats import Headers

from ..checkpoints.file_stamps import require_unchanged
from ..checkpoints.gemma4_audio.checkpoint import Tower, read_tower
from ..checkpoints.gemma4_audio.layout import EMBED, TOWER
from .blocks import Array, Blocks
from .clipped_linear import clipped_linear
from .encoder import encoder_facts, encoder_network, require_finite_rows
from .network import Dims, Network
from .watched import WatchedComponent

if TYPE_CHECKING:
    from composer.core.placement import Placement

EPS = 1e-6
MAX_TIMESCALE = 10_000.0  # of the relative positions, in frames


@dataclass(frozen=True)
class Gemma4AudioSettings:
    """The sizes that the network needs, and the numbers that no tensor shows.

    A frame attends to itself and to `past` frames before it. `attention_softcap` bounds attention
    logits, `residual_weight` scales the feed-forward layers, `clipping` bounds hidden states,
    `rms_norm_eps` is that of the norms around the convolutions; the others have 1e-6.
    """

    num_layers: int
    hidden_size: int
    num_heads: int
    head_dim: int
    joined: int
    past: int
    attention_softcap: float
    residual_weight: float
    clipping: float
    rms_norm_eps: float


def encode(nn: Blocks, settings: Gemma4AudioSettings, mel: Array) -> Array:
    """Map log-mel [F, M] to rows [ceil(F / 4), D] of the decoder's scaled embeddings."""
    x = subsample(nn, settings, mel)
    for number in range(settings.num_layers):
        x = nn.evaluate(layer(nn, f"{TOWER}layers.{number}.", settings, x))
    return project(nn, settings, x)


def subsample(nn: Blocks, settings: Gemma4AudioSettings, mel: Array) -> Array:
    """Map log-mel [F, M] to hidden states [ceil(F / 4), d]: two convolutions and a Linear.

    The Linear takes a frame's numbers with the channels innermost.
    """
    at = f"{TOWER}subsample_conv_projection."
    x = nn.expand(mel, 2)
    for name in (f"{at}layer0", f"{at}layer1"):
        y = nn.like(nn.convolution(x, f"{name}.conv", stride=2, padding=1), mel)
        x = nn.relu(nn.layer_norm(y, f"{name}.norm", settings.rms_norm_eps))
    return nn.linear(nn.reshape(x, -1, settings.joined), f"{at}input_proj_linear")


def layer(nn: Blocks, at: str, settings: Gemma4AudioSettings, x: Array) -> Array:
    """Map hidden states [T, d] through one macaron block."""
    x = feed_forward(nn, f"{at}feed_forward1.", settings, x)
    y = nn.rms_norm(nn.clip_to_dtype(x, settings.clipping), f"{at}norm_pre_attn", EPS)
    y = nn.clip_to_dtype(attention(nn, f"{at}self_attn.", settings, y), settings.clipping)
    x = x + nn.rms_norm(y, f"{at}norm_post_attn", EPS)
    x = convolution(nn, f"{at}lconv1d.", settings, x)
    x = feed_forward(nn, f"{at}feed_forward2.", settings, x)
    return nn.rms_norm(nn.clip_to_dtype(x, settings.clipping), f"{at}norm_out", EPS)


def feed_forward(nn: Blocks, at: str, settings: Gemma4AudioSettings, x: Array) -> Array:
    """Add part of a feed-forward layer's output, normalized before and after."""
    y = nn.rms_norm(nn.clip_to_dtype(x, settings.clipping), f"{at}pre_layer_norm", EPS)
    y = nn.silu(clipped_linear(nn, f"{at}ffw_layer_1", y))
    y = nn.clip_to_dtype(clipped_linear(nn, f"{at}ffw_layer_2", y), settings.clipping)
    return x + nn.rms_norm(y, f"{at}post_layer_norm", EPS) * settings.residual_weight


def attention(nn: Blocks, at: str, settings: Gemma4AudioSettings, x: Array) -> Array:
    """Let every frame [T, d] attend to itself and to `past` frames before it, in float32.

    A key at a distance is the frame's own plus one that the distance alone makes.
    """
    head, window = settings.head_dim, settings.past + 1
    projected = [nn.float32(clipped_linear(nn, f"{at}{name}_proj", x)) for name in "qkv"]
    q, k, values = (nn.reshape(rows, -1, settings.num_heads, head) for rows in projected)
    per_dim = nn.softplus(nn.float32(nn.weight(f"{at}per_dim_scale")))
    q = q * per_dim * (head**-0.5 / math.log(2))
    k = k * (math.log(1 + math.e) / math.log(2))
    distances = nn.constant(sinusoids(np.arange(settings.past, -1, -1), settings.hidden_size))
    far = nn.float32(nn.linear(nn.like(distances, x), f"{at}relative_k_proj"))
    far = nn.transpose(nn.reshape(far, window, settings.num_heads, head), 1, 2, 0)  # [H, D, W]
    near = nn.transpose(nn.past(k, window), 0, 2, 3, 1)  # [T, H, D, W]
    logits = nn.reshape(nn.matmul(nn.expand(q, 2), near), -1, settings.num_heads, window)
    by_distance = nn.matmul(nn.transpose(q, 1, 0, 2), far)  # [H, T, W]
    logits = logits + nn.transpose(by_distance, 1, 0, 2)
    logits = nn.tanh(logits / settings.attention_softcap) * settings.attention_softcap
    logits = nn.where(nn.expand(nn.in_past(k, window), 1), logits, -math.inf)
    weights = nn.expand(nn.softmax(logits), 2)
    context = nn.matmul(weights, nn.transpose(nn.past(values, window), 0, 2, 1, 3))
    context = nn.reshape(context, -1, settings.hidden_size)
    return clipped_linear(nn, f"{at}post", nn.like(context, x))


def sinusoids(distances: np.ndarray, width: int) -> np.ndarray:
    """Return [sin | cos] of distances [N] at width / 2 timescales, float32 [N, width]."""
    count = width // 2
    step = -(math.log(MAX_TIMESCALE) / max(count - 1, 1))
    rates = np.exp(np.arange(count, dtype=np.float32) * np.float32(step))
    angles = distances[:, None].astype(np.float32) * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)


def convolution(nn: Blocks, at: str, settings: Gemma4AudioSettings, x: Array) -> Array:
    """Add a gated convolution over each channel, in which no frame sees a later one."""
    y = nn.rms_norm(x, f"{at}pre_layer_norm", settings.rms_norm_eps)
    y = nn.glu(clipped_linear(nn, f"{at}linear_start", y))
    y = nn.clip_to_dtype(nn.causal_depthwise(y, f"{at}depthwise_conv1d"), settings.clipping)
    y = nn.silu(nn.rms_norm(y, f"{at}conv_norm", settings.rms_norm_eps))
    return x + clipped_linear(nn, f"{at}linear_end", y)


def project(nn: Blocks, settings: Gemma4AudioSettings, x: Array) -> Array:
    """Map hidden states [T, d] to rows [T, D] as they stand among scaled embeddings."""
    x = nn.rms_norm(nn.linear(x, f"{TOWER}output_proj"), None, settings.rms_norm_eps)
    return nn.linear(x, f"{EMBED}embedding_projection")


class Gemma4Audio(WatchedComponent, Family, name="gemma4_audio"):
    """Turn log-mel into rows of Gemma-4's embeddings by the audio tower of a whole checkpoint.

    It takes the frames of `audio.usm_log_mel` and gives a row for every four of them, 25 rows a
    second, in the space of gemma4's `embed`. It reads `audio_tower.*` and `embed_audio.*` of a
    checkpoint, in the layout of transformers or of MLX; the rest is another component's. A
    quantized projection, as mlx-vlm makes it, is dequantized when it is loaded.
    """

    requires = frozenset({"weights"})
    accepts = frozenset({"precision"})

    @classmethod
    def facts(cls, spec: Spec, headers: Headers | None) -> Facts:
        """Bind M mels and D from the convolutions and the last projection."""
        if headers is None:
            return Facts(unknown=True)
        tower = read_tower(spec, headers)
        assert spec.weights is not None
        return encoder_facts(spec.weights, network(tower), cls.runs_on, tower)

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        """Load the tensors, one at a time, in the precision that is asked for."""
        tower = read_tower(spec, Headers())
        require_unchanged(facts)
        return cls(cls.runs_on.compile(network(tower), placement))

    def __init__(self, run: Callable[..., Any]) -> None:
        self.run = run

    @method(mel="F M", returns="N D")
    def __call__(self, mel: Any) -> Any:
        """Map log-mel [F, M] of one clip to rows [ceil(F / 4), D]."""
        return require_finite_rows(self.runs_on, [self.run(mel)])


def network(tower: Tower) -> Network:
    """Return the network of one clip."""
    sizes = tower.sizes
    settings = Gemma4AudioSettings(
        num_layers=tower.layers,
        hidden_size=sizes["width"],
        num_heads=sizes["width"] // sizes["head"],
        head_dim=sizes["head"],
        joined=sizes["joined"],
        past=tower.settings.past,
        attention_softcap=tower.settings.attention_softcap,
        residual_weight=tower.settings.residual_weight,
        clipping=tower.settings.clipping,
        rms_norm_eps=tower.settings.rms_norm_eps,
    )
    inputs: dict[str, Dims] = {"mel": ("F", sizes["mels"])}
    return encoder_network(tower, partial(forward, settings), inputs, sizes["out"])


def forward(settings: Gemma4AudioSettings, nn: Blocks, mel: Array) -> Array:
    """Run the network as a `Network` takes it: settings bound, the blocks first."""
    return encode(nn, settings, mel)
