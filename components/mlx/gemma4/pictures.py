"""Pictures in mlx-lm's Gemma-4: their rows see each other in layers with a window."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from composer.generation.decoder import AHEAD

from ...models.gemma4_inputs import rows_ahead
from ..decoder import MlxLmDecoder

SLIDING = "sliding_attention"


def ahead(count: int, pictures: Any) -> Any:
    """Return how many rows behind it each of so many rows sees; `pictures` marks those that do."""
    import mlx.core as mx

    marks = np.zeros(count, bool) if pictures is None else np.asarray(pictures)
    return mx.array(rows_ahead(marks))


class PictureDecoder(MlxLmDecoder):
    """Runs a model whose prompts may have the input `ahead`, which mlx-lm does not know."""

    def __init__(self, model: Any, *more: Any) -> None:
        super().__init__(model, *more)
        self.plain_masks = model.model._make_masks
        self.kinds = [layer.layer_type for layer in model.model.layers]
        self.window = model.model.window_size
        self.ahead: Any = None
        model.model._make_masks = self._masks

    def call(self, cache: list[Any] | None, rows: Mapping[str, Any]) -> Any:
        known = dict(rows)
        given = known.pop(AHEAD, None)
        if given is not None and given.shape[1] > 1 and bool(given.any()):
            self.ahead = given[0]
        try:
            return super().call(cache, known)
        finally:
            self.ahead = None

    def _masks(self, hidden: Any, cache: list[Any]) -> list[Any]:
        """Return the mask of each layer for hidden states [1, N, D]."""
        masks: list[Any] = self.plain_masks(hidden, cache)
        if self.ahead is None or SLIDING not in self.kinds:
            return masks
        wider = self._sliding_mask(cache[self.kinds.index(SLIDING)])
        for number, kind in enumerate(self.kinds):
            if kind == SLIDING:
                masks[number] = wider
        return masks

    def _sliding_mask(self, cache: Any) -> Any:
        """Return what each row sees, bool [N, seen]: its window, and `ahead` rows behind it.

        The cache of such a layer has at most `max_size - 1` rows before these.
        """
        import mlx.core as mx

        before = 0 if cache is None else min(cache.max_size - 1, cache.offset)
        columns = mx.arange(before + len(self.ahead))
        rows = mx.arange(before, before + len(self.ahead))[:, None]
        return (columns <= rows + self.ahead[:, None]) & (columns > rows - self.window)
