"""A decoder in NumPy: the readable reference, with a cache of keys and values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..checkpoints.row_reader import RowReader
from ..models.attention import Attention
from ..models.blocks import Array
from ..models.decoder import ParsedDecoder
from .blocks import NumpyBlocks


class KvCache:
    """Keys and values [T, heads, head_dim] of the `length` rows of one sequence, by layer."""

    def __init__(self) -> None:
        self.length = 0
        self.keys: dict[int, np.ndarray] = {}
        self.values: dict[int, np.ndarray] = {}

    def add(self, layer: int, keys: Array, values: Array) -> tuple[Array, Array]:
        """Add rows to those of a layer, and return them all."""
        if layer in self.keys:
            keys = np.concatenate([self.keys[layer], keys])
            values = np.concatenate([self.values[layer], values])
        self.keys[layer], self.values[layer] = keys, values
        return keys, values


class NumpyDecoderBlocks(NumpyBlocks):
    """A `DecoderBlocks` that reads on from a cache; `rows` are those that are chosen."""

    def __init__(self, weights: Mapping[str, Array], cache: KvCache, rows: np.ndarray) -> None:
        super().__init__(weights)
        self.cache = cache
        self.rows = rows

    def linears(self, x: Array, names: Sequence[str]) -> list[Array]:
        return [self.linear(x, name) for name in names]

    def chosen(self, x: Array) -> Array:
        return x[self.rows]

    def cached_attention(
        self,
        q: Array,
        k: Array,
        v: Array,
        layer: int,
        attn: Attention,
        ahead: Array | None = None,
    ) -> Array:
        at = self.cache.length + np.arange(len(q))
        k = self._rotated(k.reshape(len(q), attn.num_kv_heads, attn.head_dim), at, attn)
        v = v.reshape(len(q), attn.num_kv_heads, attn.head_dim)
        return self._attend(q, at, *self.cache.add(layer, k, v), attn, ahead)

    def chosen_attention(self, q: Array, layer: int, attn: Attention) -> Array:
        at = self.cache.length + self.rows
        return self._attend(q, at, self.cache.keys[layer], self.cache.values[layer], attn)

    def _attend(
        self,
        q: Array,
        at: Array,
        keys: Array,
        values: Array,
        attn: Attention,
        ahead: Array | None = None,
    ) -> Array:
        """Let queries at these positions attend to keys and values from the first position on."""
        q = self._rotated(q.reshape(len(q), attn.num_heads, attn.head_dim), at, attn)
        shared = attn.num_heads // attn.num_kv_heads
        keys, values = (x.repeat(shared, axis=1).transpose(1, 0, 2) for x in (keys, values))
        logits = q.transpose(1, 0, 2) @ keys.transpose(0, 2, 1) * np.float32(attn.scale)
        if attn.softcap is not None:
            cap = np.float32(attn.softcap)
            logits = np.tanh(logits / cap) * cap
        mask = _visible_positions(at, keys.shape[1], attn.window, ahead)
        weights = self.softmax(np.where(mask, logits, -np.inf))
        context: np.ndarray = (weights @ values).transpose(1, 0, 2)
        return context.reshape(len(q), -1)

    def _rotated(self, x: Array, at: Array, attn: Attention) -> Array:
        """Rotate heads [T, heads, head_dim] by their positions."""
        tables = attn.rotary.table(at[0], at[-1] + 1)
        cos, sin = (table[at - at[0], None] for table in tables)
        half = attn.rotary.dims // 2
        first, second, rest = np.split(x, [half, 2 * half], axis=-1)
        rotated = [first * cos - second * sin, second * cos + first * sin, rest]
        return np.concatenate(rotated, axis=-1)


def _visible_positions(
    at: np.ndarray, count: int, window: int | None, ahead: np.ndarray | None = None
) -> np.ndarray:
    """Return which of `count` positions rows at these positions see, bool [T, count]."""
    rows, seen = at[:, None], np.arange(count)
    mask: np.ndarray = seen <= rows
    if ahead is not None:
        ends = at + ahead
        behind = np.concatenate([seen[: count - len(at)], ends])
        mask = mask | (behind == ends[:, None])
    if window is None:
        return mask
    return mask & (seen > rows - window)


class NumpyDecoder:
    """A decoder's checkpoint with its weights widened to float32."""

    def __init__(self, found: ParsedDecoder) -> None:
        self.found = found
        reader = RowReader()
        self.weights: dict[str, np.ndarray] = {}
        for path, module in found.modules.items():
            self.weights[f"{path}.weight"] = reader.dense(module, 0, module.shape[0])
            if "bias" in module.parts:
                self.weights[f"{path}.bias"] = reader.part(module, "bias", 0, module.shape[0])

    def begin(self) -> KvCache:
        """Return the cache of a sequence that has read nothing."""
        return KvCache()

    def read(
        self, rows: Mapping[str, np.ndarray], cache: KvCache, every: bool = False
    ) -> np.ndarray:
        """Read rows [T, ...] by input; return logits after the last [1, V] or each [T, V]."""
        count = len(rows["embeds"])
        chosen = np.arange(count) if every else np.array([count - 1])
        blocks = NumpyDecoderBlocks(self.weights, cache, chosen)
        logits: np.ndarray = self.found.write(blocks, **rows)
        cache.length += count
        return logits
