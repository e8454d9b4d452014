"""Prompts whose blocks of rows see each other both ways, in models of mlx-lm, which do not know it.

A block is a picture, or all audio of a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from composer.generation.decoder import AHEAD

from .decoder import MlxLmDecoder


class BidirectionalDecoder(MlxLmDecoder):
    """Runs a model whose prompts may have the input `ahead`; `mask` is what its layers take then.

    While `ahead` is None, they take their own.
    """

    def __init__(self, model: Any, *more: Any) -> None:
        super().__init__(model, *more)
        self.ahead: Any = None
        self.masks: dict[int | None, Any] = {}

    def call(self, cache: list[Any] | None, rows: Mapping[str, Any]) -> Any:
        known = dict(rows)
        given = known.pop(AHEAD, None)
        if given is not None and given.shape[1] > 1 and bool(given.any()):
            self.ahead = given[0]
        try:
            return super().call(cache, known)
        finally:
            self.ahead, self.masks = None, {}

    def mask(self, cache: Any, window: int | None) -> Any:
        """Return what each row sees, bool [N, seen]: those up to it, and those of its block.

        The cache of a layer with a window has at most `max_size - 1` rows before these.
        """
        import mlx.core as mx

        if window not in self.masks:
            before = 0 if cache is None else cache.offset
            if cache is not None and window is not None:
                before = min(cache.max_size - 1, before)
            seen = before + len(self.ahead)
            columns, rows = mx.arange(seen), mx.arange(before, seen)[:, None]
            mask = (columns <= rows) | same_block(self.ahead, seen)
            if window is not None:
                mask = mask & (columns > rows - window)
            self.masks[window] = mask
        return self.masks[window]


class Gemma3Decoder(BidirectionalDecoder):
    """Runs mlx-lm's Gemma 3, in which a block is seen both ways in every layer."""

    def __init__(self, model: Any, *more: Any) -> None:
        super().__init__(model, *more)
        for layer in model.layers:
            window = model.model.window_size if layer.self_attn.is_sliding else None
            layer.__class__ = self._masked(type(layer), window)

    def _masked(self, layer: type, window: int | None) -> type:
        """Return a layer's class that takes the decoder's mask while a block is read."""

        def call(block: Any, x: Any, mask: Any = None, cache: Any = None) -> Any:
            if self.ahead is not None:
                mask = self.mask(cache, window)
            y: Any = layer.__call__(block, x, mask, cache)
            return y

        return type(layer.__name__, (layer,), {"__call__": call})


def same_block(ahead: Any, seen: int) -> Any:
    """Return which of `seen` rows are of the block of each of the last ones, bool [N, seen].

    `ahead` [N] is how far behind each of these the last row of its block is.
    """
    import mlx.core as mx

    before = seen - len(ahead)
    ends = mx.arange(before, seen) + ahead
    columns = mx.concatenate([mx.arange(before).astype(ends.dtype), ends])
    return columns == ends[:, None]
