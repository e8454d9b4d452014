"""What a model of mlx-lm remembers of sequences that it continues together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import ref

from .mlx_lm_package import model_module

STEP = 256  # columns by which memory grows


class SequenceCache:
    """What is remembered of one sequence: a cache of mlx-lm for each layer, or a place in a batch.

    The place is left when the caches are asked for.
    """

    def __init__(self, layers: list[Any]) -> None:
        self.batch: Batch | None = None
        self._layers = layers

    @property
    def layers(self) -> list[Any]:
        """Return its own caches, with which mlx-lm reads prompts."""
        self.leave()
        return self._layers

    def enter(self, batch: Batch) -> list[Any]:
        """Take a place in a batch; return the caches that it had."""
        layers = self.layers
        self.batch, self._layers = batch, []
        return layers

    def leave(self) -> None:
        """Leave the batch that it is in, if any, as all others in it do."""
        if self.batch:
            self.batch.dissolve()

    def keep(self, layers: list[Any]) -> None:
        """Take caches of its own, in place of a place in a batch."""
        self.batch, self._layers = None, layers


class Positions:
    """How many rows each sequence of a batch has, and so the position of its next one."""

    def __init__(self, rows: list[int]) -> None:
        self.rows = rows
        self._set()

    def advance(self) -> None:
        """Take note that each sequence has one row more."""
        self.rows = [rows + 1 for rows in self.rows]
        self._set()

    def _set(self) -> None:
        import mlx.core as mx

        self.array = mx.array(self.rows)
        self.places = mx.arange(len(self.rows))


class Batch:
    """Sequences that are continued together, a row at a time; `layers` are the model's caches.

    Another selection of sequences is another batch. Its memory is made, and that of the old one let
    go, layer by layer.
    """

    def __init__(self, sequences: Sequence[SequenceCache]) -> None:
        self.members = [ref(sequence) for sequence in sequences]
        entered = [sequence.enter(self) for sequence in sequences]
        self.positions = Positions([_row_count(layers) for layers in entered])
        self.layers: list[Any] = []
        for _ in range(len(entered[0])):
            self.layers.append(_join([layers.pop(0) for layers in entered], self.positions))

    def has(self, sequences: Sequence[SequenceCache]) -> bool:
        """Return whether it is of exactly these sequences, in this order."""
        return [member() for member in self.members] == [*sequences]

    def dissolve(self) -> None:
        """Give each sequence that is still there caches of its own."""
        found = [(place, member()) for place, member in enumerate(self.members)]
        present = [(place, sequence, list[Any]()) for place, sequence in found if sequence]
        while self.layers:
            layer = self.layers.pop(0)
            for place, _, own in present:
                own.append(layer.extract(place))
        for _, sequence, own in present:
            sequence.keep(own)


class BatchedRows:
    """Keys and values [B, heads, capacity, D] of one layer; mlx-lm's cache for a row of each.

    The row of position p is in column p, or p modulo the size of a window, whatever else is in the
    batch: what is summed over rows is summed in the same order as for a sequence alone.
    """

    def __init__(self, caches: Sequence[Any], positions: Positions) -> None:
        import mlx.core as mx

        self.positions = positions
        self.window: int | None = getattr(caches[0], "max_size", None)
        used = self._columns(max(positions.rows))
        parts = [_in_columns(cache, self._columns(cache.offset)) for cache in caches]
        self.keys = mx.concatenate([_pad(keys, used) for keys, _ in parts])
        self.values = mx.concatenate([_pad(values, used) for _, values in parts])
        mx.eval(self.keys, self.values)

    @property
    def offset(self) -> Any:
        """Return the position of each sequence's next row, int32 [B]."""
        return self.positions.array

    def update_and_fetch(self, keys: Any, values: Any) -> tuple[Any, Any]:
        """Add a row [B, heads, 1, D] to each sequence; return all columns that are in use."""
        used = self._columns(1 + max(self.positions.rows))
        if used > self.keys.shape[2]:
            capacity = self._columns(used + -used % STEP)
            self.keys, self.values = _pad(self.keys, capacity), _pad(self.values, capacity)
        at = self.positions.array
        if self.window:
            at = at % self.window
        self.keys[self.positions.places, :, at] = keys[:, :, 0]
        self.values[self.positions.places, :, at] = values[:, :, 0]
        return self.keys[:, :, :used], self.values[:, :, :used]

    def make_mask(
        self, rows: int, window_size: int | None = None, return_array: bool = False
    ) -> Any:
        """Return which columns the next row of each sequence sees, bool [B, 1, 1, T]; None: all."""
        import mlx.core as mx

        used = self._columns(1 + max(self.positions.rows))
        fewest = self._columns(1 + min(self.positions.rows))
        if not return_array and used == fewest and used <= (window_size or used):
            return None
        at = self.positions.array[:, None]
        positions = at - (at - mx.arange(used)) % (self.window or used)
        seen = positions >= 0  # before that nothing was written
        if window_size:
            seen &= positions > at - window_size
        return seen[:, None, None]

    def extract(self, place: int) -> Any:
        """Return mlx-lm's own cache of one sequence."""
        import mlx.core as mx

        module, rows = model_module("cache"), self.positions.rows[place]
        used = self._columns(rows)
        parts = [each[place : place + 1, :, :used] for each in (self.keys, self.values)]
        if used < rows:  # the oldest row first
            parts = [mx.roll(each, -rows % used, 2) for each in parts]
        cache = module.KVCache()
        if self.window:
            cache = module.RotatingKVCache(self.window)
            cache._idx = used
        cache.keys, cache.values = map(mx.contiguous, parts)
        cache.offset = rows
        mx.eval(cache.keys, cache.values)
        return cache

    def _columns(self, rows: int) -> int:
        """Return how many columns so many rows take."""
        return min(rows, self.window) if self.window else rows


def batch_of(sequences: Sequence[SequenceCache]) -> Batch:
    """Return the batch of exactly these sequences: the one that they are in, or a new one."""
    batch = sequences[0].batch
    return batch if batch and batch.has(sequences) else Batch(sequences)


def can_be_batched(layers: Sequence[Any]) -> bool:
    """Return whether a model's caches are all of kinds that are stepped together."""
    module = model_module("cache")
    kinds = module.KVCache, module.RotatingKVCache, module.ArraysCache
    return all(type(layer) in kinds and not getattr(layer, "keep", 0) for layer in layers)


def _row_count(layers: Sequence[Any]) -> int:
    """Return how many rows a sequence has; a layer with a state only does not know."""
    return max(getattr(layer, "offset", 0) for layer in layers)


def _join(caches: Sequence[Any], positions: Positions) -> Any:
    """Return the cache of one layer for several sequences."""
    import mlx.core as mx

    if hasattr(caches[0], "offset"):
        return BatchedRows(caches, positions)
    joined = caches[0].merge(caches)
    mx.eval(joined.state)
    return joined


def _in_columns(cache: Any, used: int) -> tuple[Any, Any]:
    """Return the last keys and values [1, heads, used, D] of a cache, each in its column."""
    import mlx.core as mx

    parts: list[Any] = [cache.keys, cache.values]
    end = getattr(cache, "_idx", cache.offset)
    if end < min(cache.offset, cache.keys.shape[2]):  # the oldest row is at `end`
        parts = [mx.roll(each, -end, 2) for each in parts]
        end = cache.keys.shape[2]
    parts = [each[:, :, end - used : end] for each in parts]
    if used < cache.offset:
        parts = [mx.roll(each, cache.offset % used, 2) for each in parts]
    keys, values = parts
    return keys, values


def _pad(x: Any, columns: int) -> Any:
    """Return keys or values with so many columns, the new ones zero."""
    import mlx.core as mx

    return mx.pad(x, [(0, 0), (0, 0), (0, columns - x.shape[2]), (0, 0)])
