"""Add features that mlx-lm's models do not have: attention windows, and ids to count."""

from __future__ import annotations

from typing import Any

from ..checkpoints.config_keys.window import AttentionWindow
from .mlx_lm_package import model_module


def add_window(model: Any, window: AttentionWindow | None) -> None:
    """Limit the sliding layers of a model to `window.size` positions; None changes nothing.

    Each layer then makes its own mask: mlx-lm makes one for all of them.
    """
    if window is None:
        return
    cache_module = model_module("cache")
    for layer, sliding in zip(model.layers, window.sliding, strict=True):
        size = window.size if sliding else None
        layer.__class__ = _with_own_mask(type(layer), size)

    def make_cache() -> list[Any]:
        found: list[Any] = []
        for sliding in window.sliding:
            if sliding:
                found.append(cache_module.RotatingKVCache(max_size=window.size))
            else:
                found.append(cache_module.KVCache())
        return found

    model.make_cache = make_cache


def _with_own_mask(layer: type, size: int | None) -> type:
    """Return a layer's class that masks by its own window."""
    create_attention_mask = model_module("base").create_attention_mask

    def call(self: Any, x: Any, mask: Any = None, cache: Any = None) -> Any:
        layer_mask: Any = create_attention_mask(x, cache, window_size=size)
        cache_module: Any = layer.__call__(self, x, layer_mask, cache)
        return cache_module

    return type(layer.__name__, (layer,), {"__call__": call})


def pass_ids_with_embeddings(model: Any) -> None:
    """Pass dummy ids to a model whose network counts them; their values are unused."""
    import mlx.core as mx

    def call(self: Any, inputs: Any, cache: Any = None, input_embeddings: Any = None) -> Any:
        if inputs is None:
            inputs = mx.zeros(input_embeddings.shape[:2], mx.int32)
        return kind.__call__(self, inputs, cache, input_embeddings)

    kind: Any = type(model)
    model.__class__ = type(kind.__name__, (kind,), {"__call__": call})
