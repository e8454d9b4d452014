"""MERaLiON's speech encoder and its frame adaptor."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field

from composer.core.component import Component, ComponentConfig, Facts, Spec, method
from composer.core.errors import ComposerError, Problem
from composer.core.ports import item_bytes
from composer.formats import Headers

from ..checkpoints.meralion.checkpoint import SpeechCheckpoint, read_speech
from ..checkpoints.stamps import StampedFacts, hold, stamps
from . import whisper
from .device import device_of
from .encoder import finite, weights_of
from .linear import Weights, linear

if TYPE_CHECKING:
    from composer.core.placement import Placement
    from composer.formats import Headers


class Meralion(Component, name="mlx.meralion"):
    """Turn log-mel into rows: a Whisper-shaped encoder, a norm, and an adaptor that joins frames.

    It takes whole windows of 2 W frames, each encoded on its own, and gives W / 15 rows for each:
    100 rows for 30 s, silence that was padded included. All sizes come from the tensors; both
    published layouts are understood, of Hugging Face and of MLX.
    """

    backend = "mlx"
    requires = frozenset({"weights"})
    placement_keys = frozenset({"device"})
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
        numbers = sum(prod(tensor.shape) for tensor in checkpoint.tensors.values())
        return StampedFacts(
            dims={"M": checkpoint.dims["mels"], "D": checkpoint.dims["out"]},
            dtype=checkpoint.dtype,
            nbytes=numbers * item_bytes(checkpoint.dtype),
            notes=checkpoint.notes,
            stamps=stamps((*checkpoint.files, *checkpoint.configs)),
        )

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        """Load the tensors, one at a time, in the precision that is asked for."""
        import mlx.core as mx

        device = device_of(placement)
        checkpoint = read_speech(spec, Headers())
        hold(facts)
        with mx.stream(device):
            weights = weights_of(
                checkpoint.files, checkpoint.tensors, checkpoint.dtype, checkpoint.torch_ordered
            )
        return cls(weights, checkpoint, device)

    def __init__(
        self, weights: Mapping[str, Any], checkpoint: SpeechCheckpoint, device: Any
    ) -> None:
        self.weights = weights
        self.layers = checkpoint.layers
        self.heads = checkpoint.heads
        self.window = 2 * checkpoint.dims["window"].value
        self.device = device

    @method(mel="M F", returns="N D")
    def __call__(self, mel: Any) -> Any:
        """Map windows [M, n * 2W] to rows [n * W / 15, D], one after the other."""
        import mlx.core as mx

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
        rows = []
        with mx.stream(self.device):
            for start in range(0, frames, self.window):
                part = self.slice(mel[:, start : start + self.window])
                mx.eval(part)  # so that the work of one window is gone before the next begins
                rows.append(part)
            return finite(mx.concatenate(rows))

    def slice(self, mel: Any) -> Any:
        """Map one window [M, 2W] to its rows."""
        x = whisper.encode(self.weights, self.layers, self.heads, mel)
        return adapt(self.weights, whisper.layer_norm(self.weights, "ln_speech", x))


def adapt(weights: Weights, x: Any) -> Any:
    """Join frames [W, d] side by side and map them to rows [W / 15, D].

    The large adaptor is SiLU(gate(h)) * pool(h) between two linear layers, the small one of v1
    three linear layers; h is SiLU of the first layer in both.
    """
    import mlx.nn

    nn: Any = mlx.nn
    h = x.reshape(-1, weights["mlp_adapter.0.weight"].shape[1])
    h = nn.silu(linear(weights, "mlp_adapter.0", h))
    if "gate_proj.weight" in weights:
        gate = nn.silu(linear(weights, "gate_proj", h))
        return linear(weights, "out_proj", gate * linear(weights, "pool_proj", h))
    h = nn.silu(linear(weights, "speech_llm_proj.0", h))
    return linear(weights, "speech_llm_proj.2", h)
