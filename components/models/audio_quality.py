"""Mega-ASR's router: how likely is a clip degraded, by a small transformer over its log-mel.

The formulas are those of torch's Conv1d, BatchNorm1d and TransformerEncoderLayer (pre-norm, exact
GELU), and of a mean of rows by a softmax over time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from pydantic import Field

from composer.core.component import ComponentConfig, Facts, Spec, method
from composer.core.errors import ComposerError, Problem
from composer.core.family import Family
from composer.formats import Headers

from ..checkpoints.audio_quality.checkpoint import read_classifier
from ..checkpoints.encoder_checkpoint import EncoderCheckpoint
from ..checkpoints.file_stamps import require_unchanged
from .blocks import Array, Blocks
from .encoder import network_facts
from .network import Network

if TYPE_CHECKING:
    from composer.core.placement import Placement

EPS = 1e-5
STRIDE = 4  # frames of log-mel to a row: two convolutions of stride 2


@dataclass(frozen=True)
class AudioQualitySettings:
    """Sizes that the network needs."""

    num_layers: int
    num_heads: int
    mels: int
    width: int
    positions: int


def frontend(settings: AudioQualitySettings, nn: Blocks, mel: Array, at: Array) -> Array:
    """Map log-mel [M, F] to rows [ceil(F / 4), d] with the positions of their numbers `at`."""
    x = nn.transpose(mel, 1, 0)
    for name in ("0", "4"):
        x = nn.convolution(x, f"frontend.conv.{name}", stride=2, padding=1)
        x = nn.gelu(_batch_norm(nn, x, f"frontend.conv.{int(name) + 1}"))
    positions = nn.reshape(nn.weight("pos_encoder.pe"), settings.positions, settings.width)
    return x + nn.gather(positions, at)


def _batch_norm(nn: Blocks, x: Array, name: str) -> Array:
    """Normalize channels by the mean and the variance that training left."""
    centred = x - nn.weight(f"{name}.running_mean")
    normed = centred / nn.sqrt(nn.weight(f"{name}.running_var") + EPS)
    return normed * nn.weight(f"{name}.weight") + nn.weight(f"{name}.bias")


def attend(settings: AudioQualitySettings, nn: Blocks, x: Array) -> Array:
    """Map rows [N, d] through the layers, in which all attend to each other, and the last norm."""
    for number in range(settings.num_layers):
        at = f"transformer.layers.{number}."
        y = nn.linear(nn.layer_norm(x, f"{at}norm1", EPS), f"{at}self_attn.in_proj")
        parts = nn.transpose(nn.reshape(y, -1, 3, settings.width), 1, 0, 2)
        q, k, v = (_part(settings, nn, parts, index) for index in range(3))
        y = nn.attention(q, k, v, settings.num_heads)
        x = x + nn.linear(y, f"{at}self_attn.out_proj")
        y = nn.gelu(nn.linear(nn.layer_norm(x, f"{at}norm2", EPS), f"{at}linear1"))
        x = x + nn.linear(y, f"{at}linear2")
    return nn.layer_norm(x, "transformer.norm", EPS)


def _part(settings: AudioQualitySettings, nn: Blocks, parts: Array, index: int) -> Array:
    """Return one of the matrices [3, N, d] that are computed together."""
    return nn.reshape(nn.gather(parts, nn.constant(np.array([index]))), -1, settings.width)


def classify(nn: Blocks, x: Array) -> Array:
    """Map rows [N, d] to the probabilities [1, 2] of a clean and of a degraded clip."""
    weights = nn.softmax(nn.transpose(nn.linear(x, "pooling.query"), 1, 0))
    pooled = nn.matmul(weights, x)
    hidden = nn.gelu(nn.linear(pooled, "classifier.0"))
    return nn.softmax(nn.linear(hidden, "classifier.3"))


def forward(settings: AudioQualitySettings, nn: Blocks, mel: Array, at: Array) -> Array:
    """Map log-mel [M, F], and the numbers of its rows, to probabilities [1, 2]."""
    return classify(nn, attend(settings, nn, frontend(settings, nn, mel, at)))


class AudioQuality(Family, name="audio_quality"):
    """Say how likely a clip is degraded, by the classifier that routes Mega-ASR.

    It takes the log-mel of `audio.torch_log_mel` and gives `score`, the probability that the
    clip is noisy, far, clipped or otherwise degraded, and `degraded`, whether that is at least
    `threshold`: a node's `when` takes it. All sizes but the heads, which the file's header says,
    come from the tensors.
    """

    requires = frozenset({"weights"})

    class Config(ComponentConfig):
        """When a clip counts as degraded."""

        threshold: float = Field(
            0.5, ge=0.0, le=1.0, description="the least score of a clip that is degraded"
        )
        long: Literal["error", "first_34s", "mean_of_windows"] = Field(
            "error",
            description="what becomes of more frames than there are positions for, 34 s in the "
            "release: they are refused, the first are scored alone, or windows are scored one by "
            "one and their mean counts, each by its length",
        )
        heads: int | None = Field(
            None, ge=1, le=1024, description="attention heads, where the header does not say them"
        )

    @classmethod
    def facts(cls, spec: Spec, headers: Headers | None) -> Facts:
        """Bind M mels by the first convolution."""
        if headers is None:
            return Facts(unknown=True)
        checkpoint = read_classifier(spec, headers)
        dims = {"M": checkpoint.dims["mels"]}
        made = network(checkpoint)
        return network_facts(made, cls.runs_on, dims, checkpoint.notes, checkpoint.files)

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        """Load the tensors in float32."""
        checkpoint = read_classifier(spec, Headers())
        require_unchanged(facts)
        run = cls.runs_on.compile(network(checkpoint), placement)
        return cls(run, spec.config, checkpoint.sizes["positions"])

    def __init__(self, run: Callable[..., Any], config: Config, positions: int) -> None:
        self.run = run
        self.config = config
        self.most = STRIDE * positions

    @method(mel="f32 M F", returns={"score": "f32 1", "degraded": "bool 1"})
    def __call__(self, mel: Any) -> dict[str, np.ndarray]:
        """Score log-mel [M, F] of one clip."""
        frames = mel.shape[1]
        if frames > self.most and self.config.long == "error":
            message = f"the log-mel has {frames} frames, and there are positions for {self.most}"
            hint = "say long: mean_of_windows or first_34s, or split the audio"
            raise ComposerError(Problem("R550", message, hint=hint))
        if self.config.long == "first_34s":
            frames = min(frames, self.most)
        score, backend = 0.0, self.runs_on
        for start in range(0, frames, self.most):
            window = mel[:, start : min(start + self.most, frames)]
            share = window.shape[1] / frames
            score += share * float(backend.to_numpy(self.run(window, self._rows(window)))[0, 1])
        return {
            "score": backend.from_numpy(np.array([score], np.float32), "f32"),
            "degraded": np.array([score >= self.config.threshold]),
        }

    def _rows(self, mel: Any) -> Any:
        """Return the numbers of the rows that log-mel becomes."""
        return self.runs_on.from_numpy(np.arange(-(-mel.shape[1] // STRIDE)), "i64")


def network(checkpoint: EncoderCheckpoint, write: Callable[..., Array] = forward) -> Network:
    """Return the network of one window."""
    sizes = checkpoint.sizes
    settings = AudioQualitySettings(
        num_layers=sizes["layers"],
        num_heads=sizes["heads"],
        mels=sizes["mels"],
        width=sizes["width"],
        positions=sizes["positions"],
    )
    return Network(
        name=str(checkpoint.files[0]),
        forward=partial(write, settings),
        inputs={"mel": (sizes["mels"], "F"), "at": ("R",)},
        output=(1, 2),
        tensors=checkpoint.tensors,
        dtype=checkpoint.dtype,
        torch_ordered=checkpoint.torch_ordered,
        row_numbers=frozenset({"at"}),
    )
