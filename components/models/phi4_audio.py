"""Phi-4 Multimodal's speech conformer: a strided stem, then blocks that see their whole window.

The formulas are those of transformers' Phi4MultimodalAudioModel, for one clip without padding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from composer.core.calibration import Fold
from composer.core.component import Facts, Spec, method
from composer.core.errors import ComposerError, Problem
from composer.core.family import Family
from composer.formats import Headers

from ..checkpoints.encoder_checkpoint import EncoderCheckpoint
from ..checkpoints.file_stamps import require_unchanged
from ..checkpoints.phi4_audio.checkpoint import read_encoder
from ..checkpoints.phi4_audio.layout import BIAS_VALUES
from .blocks import Array, Blocks
from .encoder import encoder_facts, encoder_network, require_finite_rows
from .network import Dims, Network
from .watched import WatchedComponent

if TYPE_CHECKING:
    from composer.core.placement import Placement

EPS = 1e-5
STRIDE = 8  # frames of log-mel to a row: three convolutions of stride 2
WINDOW = 500  # rows that attend to each other, 40 s: a constant of the release's code
STEM = ("encoder_embedding.", "embed.")


@dataclass(frozen=True)
class Phi4AudioSettings:
    """Sizes that the network needs: `joined` numbers are what the convolutions make of a row."""

    num_layers: int
    num_heads: int
    joined: int


def stem(settings: Phi4AudioSettings, nn: Blocks, mel: Array) -> Array:
    """Map log-mel [F, M] to hidden states [ceil(F / 8), d].

    The checkpoint's mean and deviation of each mel come first, in float32: log-mel is up to 20,
    where bfloat16 has steps of an eighth. The Linear takes a row's numbers with the mels innermost.
    """
    mean, inverse = (nn.weight(f"encoder_embedding.global_{name}") for name in ("mean", "invstd"))
    x = nn.like((mel - nn.float32(mean)) * nn.float32(inverse), mean)
    x = nn.convolution(nn.expand(x, 2), "embed.conv.0", stride=2, padding=1)
    x = nn.relu(nn.like(x, mean))
    for number in (2, 5):
        x = nn.convolution(x, f"embed.conv.{number}", stride=2, padding=1, depthwise=True)
        x = nn.convolution(nn.like(x, mean), f"embed.conv.{number + 1}")
        x = nn.relu(nn.like(x, mean))
    x = nn.reshape(nn.transpose(x, 0, 2, 1), -1, settings.joined)
    return nn.linear(x, "embed.out")


def encode(settings: Phi4AudioSettings, nn: Blocks, x: Array, distances: Array) -> Array:
    """Map the hidden states [N, d] of one window, which attend to each other, to rows [N, d].

    `distances` [N, N] are the numbers of the biases from each row to each other one.
    """
    bias = nn.transpose(nn.gather(nn.weight(BIAS_VALUES), distances), 2, 0, 1)
    for number in range(settings.num_layers):
        x = nn.evaluate(layer(nn, f"encoders.{number}.", settings.num_heads, x, bias))
    return x


def layer(nn: Blocks, at: str, num_heads: int, x: Array, bias: Array) -> Array:
    """Map hidden states [N, d] through one macaron block; `bias` [heads, N, N] is by distance."""
    x = feed_forward(nn, f"{at}feed_forward_in.", x)
    y = nn.layer_norm(x, f"{at}layer_norm_att", EPS)
    q, k, values = (nn.linear(y, f"{at}self_attn.linear_{name}") for name in "qkv")
    attended = nn.like(nn.attention(q, k, values, num_heads, bias=bias), x)
    x = x + nn.linear(attended, f"{at}self_attn.linear_out")
    x = convolution(nn, f"{at}conv.", x)
    x = feed_forward(nn, f"{at}feed_forward_out.", x)
    return nn.layer_norm(x, f"{at}layer_norm", EPS)


def feed_forward(nn: Blocks, at: str, x: Array) -> Array:
    """Add half of a feed-forward layer's output; the second half of what it makes is the gate."""
    y = nn.linear(nn.layer_norm(x, f"{at}layer_norm", EPS), f"{at}net.0.linear")
    first, gate = nn.halves(y)
    return x + nn.linear(first * nn.silu(gate), f"{at}net.2") * 0.5


def convolution(nn: Blocks, at: str, x: Array) -> Array:
    """Add a gated convolution over each channel, in which no row sees a later one."""
    y = nn.layer_norm(x, f"{at}layer_norm", EPS)
    first, gate = nn.halves(pointwise(nn, f"{at}glu.ext_pw_conv_1d", y))
    biases = (nn.reshape(nn.weight(f"{at}glu.{name}"), -1) for name in ("b1", "b2"))
    first_bias, gate_bias = biases
    y = (first + first_bias) * nn.silu(gate + gate_bias)
    y = nn.causal_depthwise(y, f"{at}dw_sep_conv_1d.dw_conv")
    y = y + nn.weight(f"{at}dw_sep_conv_1d.dw_conv.bias")
    y = nn.silu(pointwise(nn, f"{at}dw_sep_conv_1d.pw_conv", y))
    return x + pointwise(nn, f"{at}ext_pw_conv_1d", y)


def pointwise(nn: Blocks, name: str, x: Array) -> Array:
    """Map rows by a convolution of one row."""
    return nn.like(nn.convolution(x, name), x)


class Phi4Audio(WatchedComponent, Family, name="phi4_audio"):
    """Turn log-mel into rows by the speech conformer of Phi-4 Multimodal.

    It takes the frames of `audio.phi4_log_mel` and gives a row for every eight of them, 12.5 rows
    a second. It reads `audio_tower.*` of a checkpoint, in the layout of the release; the rest is
    another component's, the projector behind it too. A clip of more than 500 rows, 40 s, is encoded
    in windows of 500, of which the last is filled up with rows of 0 that are attended to, as in the
    release's code. How far biases by distance reach is what the tensor has, 500 rows.
    """

    requires = frozenset({"weights"})
    accepts = frozenset({"precision"})

    @classmethod
    def facts(cls, spec: Spec, headers: Headers | None) -> Facts:
        """Bind M mels by the stored mean and D, the encoder's width, by its Linears."""
        if headers is None:
            return Facts(unknown=True)
        checkpoint = read_encoder(spec, headers)
        assert spec.weights is not None
        sizes = {"M": "mels", "D": "width"}
        made = network(checkpoint, encode)
        return encoder_facts(spec.weights, made, cls.runs_on, checkpoint, sizes)

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        """Load the tensors, one at a time, in the precision that is asked for."""
        checkpoint = read_encoder(spec, Headers())
        require_unchanged(facts)
        before = cls.runs_on.compile(_part(network(checkpoint, stem), True), placement)
        after = cls.runs_on.compile(_part(network(checkpoint, encode), False), placement)
        return cls(before, after, checkpoint.sizes["reach"])

    def __init__(self, stem: Callable[..., Any], encode: Callable[..., Any], reach: int) -> None:
        self.stem = stem
        self.encode = encode
        self.reach = reach

    def runs(self) -> tuple[Callable[..., Any], ...]:
        return self.stem, self.encode

    @method(mel="f32 F M", returns="N D")
    def __call__(self, mel: Any) -> Any:
        """Map log-mel [F, M] of one clip to rows [ceil(F / 8), D]."""
        if mel.shape[0] == 0:
            raise ComposerError(Problem("R550", "the log-mel has no frames"))
        x = self.stem(mel)
        count = x.shape[0]
        if count <= WINDOW:
            return require_finite_rows(self.runs_on, [self.encode(x, self._distances(count))])
        distances, rows = self._distances(WINDOW), []
        for start in range(0, count, WINDOW):
            window = x[start : start + WINDOW]
            made = self.encode(self._filled(window), distances)
            rows.append(made[: window.shape[0]])
        return require_finite_rows(self.runs_on, rows)

    def _distances(self, count: int) -> Any:
        """Return the number of the bias from each row to each other one, int64 [N, N]."""
        places = np.arange(count)
        offsets = places[None, :] - places[:, None]
        numbers = np.clip(offsets, -self.reach, self.reach - 1) + self.reach
        return self.runs_on.from_numpy(numbers, "i64")

    def _filled(self, x: Any) -> Any:
        """Return a window's hidden states with rows of 0 behind them."""
        missing = WINDOW - x.shape[0]
        if not missing:
            return x
        padded = np.pad(self.runs_on.to_numpy(x), [(0, missing), (0, 0)])
        return self.runs_on.from_numpy(padded, self.runs_on.dtype(x))


def network(checkpoint: EncoderCheckpoint, forward: Callable[..., Array]) -> Network:
    """Return the network of a clip's log-mel, or that of the hidden states of one window."""
    sizes = checkpoint.sizes
    settings = Phi4AudioSettings(sizes["layers"], sizes["heads"], sizes["joined"])
    inputs: dict[str, Dims] = {"x": ("N", sizes["width"]), "distances": ("N", "N")}
    if forward is stem:
        inputs = {"mel": ("F", sizes["mels"])}
    made = encoder_network(checkpoint, partial(forward, settings), inputs, sizes["width"])
    folds = chain.from_iterable(_folds(f"encoders.{n}.") for n in range(settings.num_layers))
    numbers = frozenset({"distances"} & inputs.keys())
    return replace(made, row_numbers=numbers, folds=tuple(folds))


def _folds(at: str) -> tuple[Fold, ...]:
    """Return where scales of columns can move in a block: into its norms, and into the values."""
    attention = f"{at}self_attn.linear_"
    return (
        Fold(f"{at}feed_forward_in.layer_norm", (f"{at}feed_forward_in.net.0.linear",)),
        Fold(f"{at}layer_norm_att", tuple(attention + name for name in "qkv")),
        Fold(f"{attention}v", (f"{attention}out",)),
        Fold(f"{at}feed_forward_out.layer_norm", (f"{at}feed_forward_out.net.0.linear",)),
    )


def _part(network: Network, before: bool) -> Network:
    """Return the network with the tensors of its part alone."""
    own = {}
    for name, tensor in network.tensors.items():
        if name.startswith(STEM) is before:
            own[name] = tensor
    return replace(network, tensors=own, torch_ordered=network.torch_ordered & own.keys())
