"""Our own decoder in MLX: the blocks of decoders, with a KV cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from composer.core.placement import Placement
from composer.formats.quantization import Scheme

from ..models.attention import Attention
from ..models.decoder import ParsedDecoder
from . import loader
from .bidirectional import same_block
from .blocks import MlxBlocks
from .device import device_of


class KvCache:
    """Keys and values [heads, T, head_dim] of the `length` rows of one sequence, by layer."""

    def __init__(self) -> None:
        self.length = 0
        self.layers: dict[int, tuple[Any, Any]] = {}

    def add(self, layer: int, keys: Any, values: Any) -> tuple[Any, Any]:
        """Append rows to those of a layer, and return all."""
        import mlx.core as mx

        if layer in self.layers:
            earlier_keys, earlier_values = self.layers[layer]
            keys = mx.concatenate([earlier_keys, keys], axis=1)
            values = mx.concatenate([earlier_values, values], axis=1)
        self.layers[layer] = keys, values
        return keys, values


class MlxDecoderBlocks(MlxBlocks):
    """A `DecoderBlocks` that continues a cache; `rows` are those whose logits are computed.

    A quantized module is multiplied in its packed form.
    """

    def __init__(
        self,
        weights: Mapping[str, Any],
        schemes: Mapping[str, Scheme],
        cache: KvCache,
        rows: np.ndarray,
    ) -> None:
        super().__init__(weights, schemes)
        self.cache = cache
        self.rows = rows

    def linear(self, x: Any, name: str) -> Any:
        scheme = self.schemes.get(name)
        if scheme is None:
            return super().linear(x, name)
        y = self.mx.quantized_matmul(
            x,
            self.weights[f"{name}.weight"],
            self.weights[f"{name}.scales"],
            self.weights[f"{name}.biases"],
            transpose=True,
            **loader.quantize_arguments(scheme),
        )
        if self.has(f"{name}.bias"):
            y = y + self.weight(f"{name}.bias")
        return y

    def linears(self, x: Any, names: Sequence[str]) -> list[Any]:
        return [self.linear(x, name) for name in names]

    def chosen(self, x: Any) -> Any:
        return x[self.mx.array(self.rows)]

    def cached_attention(
        self, q: Any, k: Any, v: Any, layer: int, attn: Attention, ahead: Any = None
    ) -> Any:
        at = self.cache.length + np.arange(len(q))
        k = self._rotated(k.reshape(len(q), attn.num_kv_heads, attn.head_dim), at, attn)
        v = v.reshape(len(q), attn.num_kv_heads, attn.head_dim)
        self.cache.add(layer, k.transpose(1, 0, 2), v.transpose(1, 0, 2))
        return self._attend(q, at, layer, attn, ahead)

    def chosen_attention(self, q: Any, layer: int, attn: Attention) -> Any:
        return self._attend(q, self.cache.length + self.rows, layer, attn)

    def _attend(
        self, q: Any, at: np.ndarray, layer: int, attn: Attention, ahead: Any = None
    ) -> Any:
        """Let queries at these positions attend to what a layer remembers."""
        keys, values = self.cache.layers[layer]
        q = self._rotated(q.reshape(len(q), attn.num_heads, attn.head_dim), at, attn)
        positions, rows = self.mx.arange(keys.shape[1]), self.mx.array(at[:, None])
        mask = positions <= rows
        if ahead is not None:
            mask = mask | same_block(ahead, keys.shape[1])
        if attn.window is not None:
            mask = mask & (positions > rows - attn.window)
        if attn.softcap is not None:
            return self._bounded(q, keys, values, mask, attn)
        context = self.mx.fast.scaled_dot_product_attention(
            q.transpose(1, 0, 2)[None], keys[None], values[None], scale=attn.scale, mask=mask
        )
        return context[0].transpose(1, 0, 2).reshape(len(q), -1)

    def _bounded(self, q: Any, keys: Any, values: Any, mask: Any, attn: Attention) -> Any:
        """Attend with bounded products, which MLX's kernel does not compute."""
        group = attn.num_heads // attn.num_kv_heads
        q = q.transpose(1, 0, 2).reshape(attn.num_kv_heads, group, -1, attn.head_dim)
        logits = (q * attn.scale) @ keys[:, None].swapaxes(-1, -2)
        logits = self.tanh(logits / attn.softcap) * attn.softcap
        weights = self.mx.softmax(self.mx.where(mask, logits, -self.mx.inf), axis=-1, precise=True)
        context = (weights @ values[:, None]).reshape(attn.num_heads, -1, attn.head_dim)
        return context.transpose(1, 0, 2).reshape(len(mask), -1)

    def _rotated(self, x: Any, at: np.ndarray, attn: Attention) -> Any:
        """Rotate heads [T, heads, head_dim] by their positions."""
        cosines, sines = attn.rotary.table(at[0], at[-1] + 1)
        rows = at - at[0]
        cos = self.mx.array(cosines[rows, None]).astype(x.dtype)
        sin = self.mx.array(sines[rows, None]).astype(x.dtype)
        half = attn.rotary.dims // 2
        first, second, unrotated = self.mx.split(x, [half, 2 * half], axis=-1)
        rotated = [first * cos - second * sin, second * cos + first * sin, unrotated]
        return self.mx.concatenate(rotated, axis=-1)


class MlxBlocksDecoder:
    """A decoder's checkpoint with its weights as they are stored, on one device."""

    def __init__(self, found: ParsedDecoder, placement: Placement) -> None:
        import mlx.core as mx

        self.found = found
        self.device = device_of(placement)
        self.schemes = {m.path: m.scheme for m in found.modules.values() if m.scheme}
        with mx.stream(self.device):
            stored = loader.read_lazily(found.checkpoint.tensors.files)
            self.weights = {}
            for path, module in found.modules.items():
                for part, tensor in module.parts.items():
                    self.weights[f"{path}.{part}"] = stored[found.names.stored(tensor.name)]
            mx.eval(self.weights)

    def begin(self) -> KvCache:
        """Return an empty cache."""
        return KvCache()

    def read(self, rows: Mapping[str, Any], cache: KvCache, every: bool = False) -> Any:
        """Process rows [T, ...] by input; return logits after the last [1, V] or each [T, V]."""
        import mlx.core as mx

        count = len(rows["embeds"])
        chosen = np.arange(count) if every else np.array([count - 1])
        with mx.stream(self.device):
            blocks = MlxDecoderBlocks(self.weights, self.schemes, cache, chosen)
            logits = self.found.write(blocks, **rows)
            mx.eval(logits)
        cache.length += count
        return logits
