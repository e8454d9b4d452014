"""Gemma-4's audio tower as a component."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any, Self

from composer.core.component import Component, Facts, Spec, method
from composer.core.ports import item_bytes
from composer.formats import Headers

from ...checkpoints.gemma4_audio.checkpoint import Tower, read_tower
from ...checkpoints.stamps import StampedFacts, hold, stamps
from ..device import device_of
from ..encoder import finite, weights_of
from .conformer import encode

if TYPE_CHECKING:
    from composer.core.placement import Placement
    from composer.formats import Headers


class Gemma4Audio(Component, name="mlx.gemma4_audio"):
    """Turn log-mel into rows of Gemma-4's embeddings by the audio tower of a whole checkpoint.

    It takes the frames of `audio.usm_log_mel` and gives a row for every four of them, 25 rows a
    second, in the space of mlx.gemma4's `embed`. It reads `audio_tower.*` and `embed_audio.*` of
    a checkpoint, in the layout of transformers or of MLX; the rest is another component's. A
    quantized projection, as mlx-vlm makes it, is dequantized when it is loaded.
    """

    backend = "mlx"
    requires = frozenset({"weights"})
    placement_keys = frozenset({"device"})
    accepts = frozenset({"precision"})

    @classmethod
    def facts(cls, spec: Spec, headers: Headers | None) -> Facts:
        """Bind M mels and D from the convolutions and the last projection."""
        if headers is None:
            return Facts(unknown=True)
        tower = read_tower(spec, headers)
        numbers = sum(prod(tensor.shape) for tensor in tower.tensors.values())
        return StampedFacts(
            dims={"M": tower.dims["mels"], "D": tower.dims["out"]},
            dtype=tower.dtype,
            nbytes=numbers * item_bytes(tower.dtype),
            notes=tower.notes,
            stamps=stamps((*tower.files, tower.config)),
        )

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        """Load the tensors, one at a time, in the precision that is asked for."""
        import mlx.core as mx

        device = device_of(placement)
        tower = read_tower(spec, Headers())
        hold(facts)
        with mx.stream(device):
            weights = weights_of(
                tower.files, tower.tensors, tower.dtype, tower.torch_ordered, tower.schemes
            )
        return cls(weights, tower, device)

    def __init__(self, weights: Mapping[str, Any], tower: Tower, device: Any) -> None:
        self.weights = weights
        self.layers = tower.layers
        self.settings = tower.settings
        self.device = device

    @method(mel="F M", returns="N D")
    def __call__(self, mel: Any) -> Any:
        """Map log-mel [F, M] of one clip to rows [ceil(F / 4), D]."""
        import mlx.core as mx

        with mx.stream(self.device):
            return finite(encode(self.weights, self.layers, self.settings, mel))
