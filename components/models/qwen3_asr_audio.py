"""Qwen3-ASR's audio encoder: convolutions over chunks of a second, then windowed attention.

The formulas are those of transformers' Qwen3ASREncoder and its projector, for one clip.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from composer.generation.options import AdapterNames

from ..checkpoints.file_stamps import require_unchanged
from ..checkpoints.lora.adapters import AdapterFacts
from ..checkpoints.lora.encoder_adapters import read_encoder_adapters
from ..checkpoints.lora.selection import check_selected_adapters
from ..checkpoints.qwen3_asr_audio.checkpoint import AudioEncoder, read_encoder
from ..checkpoints.qwen3_asr_audio.settings import AttentionWindows
from .blocks import Array, Blocks
from .encoder import encoder_facts, encoder_network, require_finite_rows, with_adapters
from .network import Dims, Network
from .watched import WatchedComponent
from .whisper_layer import EPS, folds, layer

if TYPE_CHECKING:
    from composer.core.placement import Placement

STRIDE = 8  # frames of log-mel to a row: three convolutions of stride 2
STEM = ("conv2d1.", "conv2d2.", "conv2d3.", "conv_out.")


@dataclass(frozen=True)
class Qwen3AsrAudioSettings:
    """Sizes that the network needs: `joined` numbers are what the convolutions make of a row."""

    num_layers: int
    num_heads: int
    mels: int
    chunk: int
    joined: int
    width: int

    @property
    def chunk_rows(self) -> int:
        """The rows of a whole chunk."""
        return -(-self.chunk // STRIDE)


def stem(settings: Qwen3AsrAudioSettings, nn: Blocks, mel: Array) -> Array:
    """Map whole chunks of log-mel [M, C F] to hidden states [C R, d], positions included.

    Every chunk is convolved by itself, and its positions begin at 0.
    """
    x = nn.transpose(nn.reshape(mel, settings.mels, -1, settings.chunk), 1, 0, 2)
    x = nn.expand(x, 3)
    for name in ("conv2d1", "conv2d2", "conv2d3"):
        y = nn.convolution(x, name, stride=2, padding=1, batched=True)
        x = nn.gelu(nn.like(y, mel))
    x = nn.transpose(x, 0, 2, 3, 1)  # [C, R, channels, M / 8]
    x = nn.linear(nn.reshape(x, -1, settings.joined), "conv_out")
    positions = nn.like(nn.constant(sinusoids(settings.chunk_rows, settings.width)), x)
    x = nn.reshape(x, -1, settings.chunk_rows, settings.width) + positions
    return nn.reshape(x, -1, settings.width)


def sinusoids(length: int, width: int) -> np.ndarray:
    """Return Whisper's positions [length, width], float32: sines, then cosines."""
    step = np.float32(-np.log(10_000.0) / (width // 2 - 1))
    rates = np.exp(step * np.arange(width // 2, dtype=np.float32))
    angles = np.arange(length, dtype=np.float32)[:, None] * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


def encode(settings: Qwen3AsrAudioSettings, nn: Blocks, x: Array) -> Array:
    """Map the hidden states [N, d] of one window, which attend to each other, to rows [N, D]."""
    for number in range(settings.num_layers):
        x = nn.evaluate(layer(nn, f"layers.{number}.", settings.num_heads, x))
    x = nn.layer_norm(x, "ln_post", EPS)
    return nn.linear(nn.gelu(nn.linear(x, "proj1")), "proj2")


class Qwen3AsrAudio(WatchedComponent, Family, name="qwen3_asr_audio"):
    """Turn log-mel into rows by the audio encoder of a whole Qwen3-ASR checkpoint.

    It takes a clip's frames as they are and gives 13 rows for every second of a hundred, and a row
    for every eight of what is left. It reads `audio_tower.*` of a checkpoint, in the layout of the
    release, of transformers or of MLX's conversions; the rest is another component's. Matrices
    that MLX quantized are dequantized when they are loaded. Adapters go on its Linears; of one that
    was trained on the whole model, such as Mega-ASR's, it takes those of `audio_tower`.
    """

    requires = frozenset({"weights"})
    accepts = frozenset({"precision", "adapters"})

    @classmethod
    def facts(cls, spec: Spec, headers: Headers | None) -> Facts:
        """Bind M mels by the config and D by the last Linear."""
        if headers is None:
            return Facts(unknown=True)
        checkpoint = read_encoder(spec, headers)
        assert spec.weights is not None
        facts = encoder_facts(spec.weights, network(checkpoint, encode), cls.runs_on, checkpoint)
        return with_adapters(facts, read_encoder_adapters(spec, headers, checkpoint))

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        """Load the tensors, one at a time, in the precision that is asked for."""
        checkpoint = read_encoder(spec, Headers())
        adapters = read_encoder_adapters(spec, Headers(), checkpoint)
        require_unchanged(facts)
        before = _part(network(checkpoint, stem), True, adapters)
        after = _part(network(checkpoint, encode), False, adapters)
        return cls(
            cls.runs_on.compile(before, placement),
            cls.runs_on.compile(after, placement),
            checkpoint.windows,
            adapters,
        )

    def __init__(
        self,
        stem: Callable[..., Any],
        encode: Callable[..., Any],
        windows: AttentionWindows,
        adapters: Mapping[str, AdapterFacts] | None = None,
    ) -> None:
        self.stem = stem
        self.encode = encode
        self.windows = windows
        self.adapters = adapters or {}

    def runs(self) -> tuple[Callable[..., Any], ...]:
        return self.stem, self.encode

    @method(mel="M F", returns="N D")
    def __call__(self, mel: Any, *, adapters: AdapterNames = ()) -> Any:
        """Map log-mel [M, F] of one clip to rows, window by window; each attends to itself.

        `adapters` are on for this clip only.
        """
        check_selected_adapters(adapters, self.adapters)
        frames = mel.shape[1]
        if frames == 0:
            raise ComposerError(Problem("R550", "the log-mel has no frames"))
        size = self.windows.chunk * self.windows.chunks
        rows = [self._window(mel[:, at : at + size], adapters) for at in range(0, frames, size)]
        return require_finite_rows(self.runs_on, rows)

    def _window(self, mel: Any, adapters: AdapterNames) -> Any:
        """Map the frames of a window, or of the last one, which may be shorter."""
        chunk, frames = self.windows.chunk, mel.shape[1]
        whole, rest = divmod(frames, chunk)
        if rest:
            mel = self._filled(mel, chunk - rest)
        rows = whole * -(-chunk // STRIDE) + -(-rest // STRIDE)
        return self.encode(self.stem(mel, adapters=adapters)[:rows], adapters=adapters)

    def _filled(self, mel: Any, frames: int) -> Any:
        """Return log-mel with frames of 0 behind it, as transformers fills the last chunk."""
        backend = self.runs_on
        padded = np.pad(backend.to_numpy(mel), [(0, 0), (0, frames)])
        return backend.from_numpy(padded, backend.dtype(mel))


def network(checkpoint: AudioEncoder, forward: Callable[..., Array]) -> Network:
    """Return the network of one window, from its log-mel or from its hidden states."""
    sizes = checkpoint.sizes
    settings = Qwen3AsrAudioSettings(
        num_layers=sizes["layers"],
        num_heads=sizes["heads"],
        mels=sizes["mels"],
        chunk=checkpoint.windows.chunk,
        joined=sizes["joined"],
        width=sizes["width"],
    )
    inputs: dict[str, Dims] = {"x": ("N", sizes["width"])}
    width = sizes["out"]
    if forward is stem:
        inputs, width = {"mel": (sizes["mels"], "F")}, sizes["width"]
    made = encoder_network(checkpoint, partial(forward, settings), inputs, width)
    places = [folds(f"layers.{number}.") for number in range(settings.num_layers)]
    last = Fold("ln_post", ("proj1",))
    return replace(made, folds=(*chain.from_iterable(places), last))


def _part(network: Network, before: bool, adapters: Mapping[str, AdapterFacts]) -> Network:
    """Return the network with the tensors of its part alone, and their adapters."""
    own = {}
    for name, tensor in network.tensors.items():
        if name.startswith(STEM) is before:
            own[name] = tensor
    updates = {}
    for name, facts in adapters.items():
        pairs = [pair for pair in facts.pairs if f"{pair.path}.weight" in own]
        updates[name] = replace(facts, pairs=tuple(pairs))
    ordered = network.torch_ordered & own.keys()
    return replace(network, tensors=own, torch_ordered=ordered, adapters=updates)
