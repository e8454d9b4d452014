"""Pictures in mlx-lm's Gemma-4: their rows see each other in layers with a window."""

from __future__ import annotations

from typing import Any

from ..bidirectional import BidirectionalDecoder

SLIDING = "sliding_attention"


class PictureDecoder(BidirectionalDecoder):
    """Runs mlx-lm's Gemma-4, which makes the masks of its layers in one place."""

    def __init__(self, model: Any, *more: Any) -> None:
        super().__init__(model, *more)
        self.plain_masks = model.model._make_masks
        self.kinds = [layer.layer_type for layer in model.model.layers]
        self.window = model.model.window_size
        model.model._make_masks = self._masks

    def _masks(self, hidden: Any, cache: list[Any]) -> list[Any]:
        """Return the mask of each layer for hidden states [1, N, D]."""
        masks: list[Any] = self.plain_masks(hidden, cache)
        if self.ahead is None:
            return masks
        for number, kind in enumerate(self.kinds):
            if kind == SLIDING:
                masks[number] = self.mask(cache[number], self.window)
        return masks
