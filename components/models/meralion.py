"""MERaLiON's speech encoder: a Whisper-shaped encoder, a norm, and an adaptor that joins frames.

The formulas are those of transformers' WhisperEncoder and of the release's adaptors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field

from composer.core.component import ComponentConfig, Facts, Spec, method
from composer.core.errors import ComposerError, Problem
from composer.core.family import Family
from composer.formats import Headers

from ..checkpoints.file_stamps import require_unchanged
from ..checkpoints.meralion.checkpoint import SpeechCheckpoint, read_speech
from .blocks import Array, Blocks
from .encoder import encoder_facts, encoder_network, require_finite_rows
from .network import Dims, Network
from .watched import WatchedComponent
from .whisper_layer import EPS, folds, layer

if TYPE_CHECKING:
    from composer.core.placement import Placement


@dataclass(frozen=True)
class MeralionSettings:
    """Sizes that the network needs: `joined` is the width of the frames that the adaptor joins."""

    num_layers: int
    num_heads: int
    joined: int


def encode(nn: Blocks, settings: MeralionSettings, mel: Array) -> Array:
    """Map one window of log-mel [M, 2W] to rows [W / 15, D]."""
    x = stem(nn, mel)
    for number in range(settings.num_layers):
        x = nn.evaluate(layer(nn, f"layers.{number}.", settings.num_heads, x))
    x = nn.layer_norm(x, "layer_norm", EPS)
    return adapt(nn, settings, nn.layer_norm(x, "ln_speech", EPS))


def stem(nn: Blocks, mel: Array) -> Array:
    """Map log-mel [M, 2W] to the first hidden states [W, d], with the positions of the file."""
    x = nn.transpose(mel, 1, 0)
    for name, stride in (("conv1", 1), ("conv2", 2)):
        x = nn.gelu(nn.like(nn.convolution(x, name, stride=stride, padding=1), mel))
    return x + nn.weight("embed_positions.weight")


def adapt(nn: Blocks, settings: MeralionSettings, x: Array) -> Array:
    """Join frames [W, d] side by side and map them to rows [W / 15, D].

    The large adaptor is SiLU(gate(h)) * pool(h) between two linear layers, the small one of v1
    three linear layers; h is SiLU of the first layer in both.
    """
    h = nn.silu(nn.linear(nn.reshape(x, -1, settings.joined), "mlp_adapter.0"))
    if nn.has("gate_proj.weight"):
        gate = nn.silu(nn.linear(h, "gate_proj"))
        return nn.linear(gate * nn.linear(h, "pool_proj"), "out_proj")
    h = nn.silu(nn.linear(h, "speech_llm_proj.0"))
    return nn.linear(h, "speech_llm_proj.2")


class Meralion(WatchedComponent, Family, name="meralion"):
    """Turn log-mel into rows: a Whisper-shaped encoder, a norm, and an adaptor that joins frames.

    It takes whole windows of 2 W frames, each encoded on its own, and gives W / 15 rows for each:
    100 rows for 30 s, silence that was padded included. All sizes come from the tensors; both
    published layouts are understood, of Hugging Face and of MLX.
    """

    requires = frozenset({"weights"})
    accepts = frozenset({"precision"})

    class Config(ComponentConfig):
        """What the tensors do not say."""

        heads: int | None = Field(
            None,
            ge=1,
            le=1024,
            description="attention heads, where no config beside the weights says them",
        )

    @classmethod
    def facts(cls, spec: Spec, headers: Headers | None) -> Facts:
        """Bind M mels and D from the first convolution and the adaptor's last layer."""
        if headers is None:
            return Facts(unknown=True)
        checkpoint = read_speech(spec, headers)
        assert spec.weights is not None
        return encoder_facts(spec.weights, network(checkpoint), cls.runs_on, checkpoint)

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        """Load the tensors, one at a time, in the precision that is asked for."""
        checkpoint = read_speech(spec, Headers())
        require_unchanged(facts)
        run = cls.runs_on.compile(network(checkpoint), placement)
        return cls(run, 2 * checkpoint.dims["window"].value)

    def __init__(self, run: Callable[..., Any], window: int) -> None:
        self.run = run
        self.window = window

    @method(mel="M F", returns="N D")
    def __call__(self, mel: Any) -> Any:
        """Map windows [M, n * 2W] to rows [n * W / 15, D], one after the other."""
        frames = mel.shape[1]
        if frames == 0 or frames % self.window:
            raise ComposerError(
                Problem(
                    "R550",
                    f"the log-mel has {frames} frames; the encoder takes whole windows of "
                    f"{self.window}",
                    hint="give audio.log_mel a pad of the window's length: at 100 frames a "
                    f"second that is pad: {{seconds: {self.window / 100:g}}}",
                )
            )
        starts = range(0, frames, self.window)
        rows = [self.run(mel[:, start : start + self.window]) for start in starts]
        return require_finite_rows(self.runs_on, rows)


def network(checkpoint: SpeechCheckpoint) -> Network:
    """Return the network of one window."""
    sizes = checkpoint.sizes
    settings = MeralionSettings(checkpoint.layers, checkpoint.heads, sizes["joined"])
    inputs: dict[str, Dims] = {"mel": (sizes["mels"], 2 * sizes["window"])}
    made = encoder_network(checkpoint, partial(forward, settings), inputs, sizes["out"])
    places = [folds(f"layers.{number}.") for number in range(settings.num_layers)]
    return replace(made, folds=tuple(chain.from_iterable(places)))


def forward(settings: MeralionSettings, nn: Blocks, mel: Array) -> Array:
    """Run the network as a `Network` takes it: settings bound, the blocks first."""
    return encode(nn, settings, mel)
