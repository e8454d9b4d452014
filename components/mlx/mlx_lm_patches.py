"""Add what mlx-lm's models do not have: attention windows, ids to count, embeddings as inputs."""

from __future__ import annotations

from typing import Any

from ..checkpoints.config_keys.window import AttentionWindow
from .mlx_lm_package import model_module


def add_window(model: Any, window: AttentionWindow | None, arrays: bool = False) -> None:
    """Limit the sliding layers of a model to `window.size` positions; None changes nothing.

    Each layer then makes its own mask: mlx-lm makes one for all of them. A network that computes
    attention itself takes masks as `arrays` alone.
    """
    if window is None:
        return
    cache_module = model_module("cache")
    for layer, sliding in zip(model.layers, window.sliding, strict=True):
        size = window.size if sliding else None
        layer.__class__ = _with_own_mask(type(layer), size, arrays)

    def make_cache() -> list[Any]:
        found: list[Any] = []
        for sliding in window.sliding:
            if sliding:
                found.append(cache_module.RotatingKVCache(max_size=window.size))
            else:
                found.append(cache_module.KVCache())
        return found

    model.make_cache = make_cache


def _with_own_mask(layer: type, size: int | None, arrays: bool) -> type:
    """Return a layer's class that masks by its own window."""
    create_attention_mask = model_module("base").create_attention_mask

    def call(self: Any, x: Any, mask: Any = None, cache: Any = None) -> Any:
        layer_mask: Any = create_attention_mask(x, cache, window_size=size, return_array=arrays)
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


def take_embeddings(model: Any) -> None:
    """Let a model that looks ids up continue embeddings, which it scales as it does its own."""
    import mlx.core as mx

    create_attention_mask = model_module("base").create_attention_mask
    inner: Any = type(model.model)
    outer: Any = type(model)

    def run(self: Any, inputs: Any, cache: Any = None, input_embeddings: Any = None) -> Any:
        rows = inputs if input_embeddings is None else input_embeddings
        if not mx.issubdtype(rows.dtype, mx.floating):
            rows = self.embed_tokens(rows)
        rows = rows * self.args.hidden_size**0.5
        caches = cache or [None] * len(self.layers)
        mask: Any = create_attention_mask(rows, caches[0], return_array=True)
        for layer, each in zip(self.layers, caches, strict=True):
            rows = layer(rows, mask, each)
        return self.norm(rows)

    def call(self: Any, inputs: Any, cache: Any = None, input_embeddings: Any = None) -> Any:
        return outer.__call__(self, inputs if input_embeddings is None else input_embeddings, cache)

    model.model.__class__ = type(inner.__name__, (inner,), {"__call__": run})
    model.__class__ = type(outer.__name__, (outer,), {"__call__": call})
