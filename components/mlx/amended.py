"""Amend models of mlx-lm: windows of positions, and ids to count, where they lack them."""

from __future__ import annotations

from typing import Any

from ..checkpoints.keys.window import Window


def give_window(model: Any, window: Window | None) -> None:
    """Let the sliding layers of a model see `window.size` positions; None changes nothing.

    Each layer then makes its own mask, whatever it is handed: mlx-lm makes one for all of them.
    """
    if window is None:
        return
    from mlx_lm.models import cache

    made: Any = cache  # which has no types

    for layer, slides in zip(model.layers, window.sliding, strict=True):
        layer.__class__ = _masked(type(layer), window.size if slides else None)

    def make_cache() -> list[Any]:
        return [
            made.RotatingKVCache(max_size=window.size) if slides else made.KVCache()
            for slides in window.sliding
        ]

    model.make_cache = make_cache


def _masked(layer: type, size: int | None) -> type:
    """Return a layer's class that makes the mask of its own window."""
    from mlx_lm.models.base import create_attention_mask

    def call(self: Any, x: Any, mask: Any = None, cache: Any = None) -> Any:
        own: Any = create_attention_mask(x, cache, window_size=size)
        made: Any = layer.__call__(self, x, own, cache)
        return made

    return type(layer.__name__, (layer,), {"__call__": call})


def give_ids(model: Any) -> None:
    """Let a model whose network counts ids have some beside embeddings; their values are unused."""
    import mlx.core as mx

    def call(self: Any, inputs: Any, cache: Any = None, input_embeddings: Any = None) -> Any:
        if inputs is None:
            inputs = mx.zeros(input_embeddings.shape[:2], mx.int32)
        return kind.__call__(self, inputs, cache, input_embeddings)

    kind: Any = type(model)
    model.__class__ = type(kind.__name__, (kind,), {"__call__": call})
