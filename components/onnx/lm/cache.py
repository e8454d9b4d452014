"""The keys and values of sequences, in memory that grows, written in place by ONNX Runtime."""

from __future__ import annotations

import mmap
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from threading import RLock
from typing import Any
from weakref import ref

import numpy as np

from ...models.attention import Attention
from ...models.rotary import Rotary
from .session import DecoderSession, bind_input, bind_output

LEAST = 256  # rows


class RotaryTables:
    """Cosines and sines of positions, made as far as a cache has needed them."""

    def __init__(self, rotary: Rotary) -> None:
        self.rotary = rotary
        self.cos, self.sin = rotary.table(0, LEAST)

    def table(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Return tables of at least so many positions; they are never written again."""
        cos, sin = self.cos, self.sin
        if len(cos) < rows:
            cos, sin = self.rotary.table(0, rows)
            self.cos, self.sin = cos, sin
        return cos, sin


@dataclass(frozen=True)
class CacheLayout:
    """The sessions that read and write keys and values, and the layers that have them."""

    sessions: Sequence[DecoderSession]
    layers: Mapping[int, Attention]
    angles: Sequence[RotaryTables]

    @property
    def row_nbytes(self) -> int:
        """Return the bytes of one row of one sequence in all layers."""
        return sum(2 * 4 * attn.num_kv_heads * attn.head_dim for attn in self.layers.values())


class KvCache:
    """The keys and values of one sequence: a slot of a store, of which `length` rows were read."""

    def __init__(self, store: CacheStore, slot: int) -> None:
        self.store = store
        self.slot = slot
        self.length = 0
        store.members[slot] = ref(self)

    def __del__(self) -> None:
        self.store.leave(self.slot)

    @property
    def capacity(self) -> int:
        """Return how many rows it has room for."""
        return self.store.capacity

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Return the keys and values by name, [heads, capacity, head_dim]."""
        return {name: array[self.slot] for name, array in self.store.arrays.items()}

    def move(self, store: CacheStore, slot: int) -> None:
        """Go to a free slot of another place, which has the room."""
        for name, array in self.arrays.items():
            store.arrays[name][slot, :, : self.length] = array[:, : self.length]
        self.store.leave(self.slot)
        self.store, self.slot = store, slot
        store.members[slot] = ref(self)


class CacheStore:
    """Keys and values [slots, heads, capacity, head_dim] of the layers, for a few sequences.

    Sequences in neighbouring slots are read together. The capacity doubles when it is full, so that
    a row is copied once on average. Memory is taken page by page as rows are written, and given
    back when a sequence leaves. `inputs` are what graphs take besides, the same for every run.
    """

    def __init__(self, layout: CacheLayout, slots: int, inputs: Mapping[str, np.ndarray]) -> None:
        self.layout = layout
        self.inputs = inputs
        self.members: list[ref[KvCache] | None] = [None] * slots
        self.arrays: dict[str, np.ndarray] = {}
        self.capacity = 0
        self._pages: dict[str, mmap.mmap] = {}
        self._tables: list[tuple[np.ndarray, np.ndarray]] = []
        self._bindings: dict[tuple[int, int, int], Any] = {}
        self._lock = RLock()  # a sequence may be let go on any thread
        self._arranging = False  # then an empty store is about to be entered

    def arrange(self, caches: Sequence[KvCache]) -> list[KvCache]:
        """Bring caches into the first slots; return them in the order of these."""
        with self._lock, self._kept():
            self.reserve(max(cache.length for cache in caches))
            count = len(caches)
            there = {c.slot for c in caches if c.store is self and c.slot < count}
            free = [slot for slot in range(count) if slot not in there]
            coming = [c for c in caches if c.store is not self or c.slot >= count]
            for slot, cache in zip(free, coming, strict=True):
                present = self.member(slot)
                if present:
                    own = CacheStore(self.layout, 1, self.inputs)
                    own.reserve(present.length)
                    present.move(own, 0)
                cache.move(self, slot)
            return sorted(caches, key=lambda cache: cache.slot)

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """Keep the memory for those who come while the last of those who were there leaves."""
        self._arranging = True
        try:
            yield
        finally:
            self._arranging = False

    def member(self, slot: int) -> KvCache | None:
        """Return the cache in a slot."""
        found = self.members[slot]
        return found() if found else None

    def leave(self, slot: int) -> None:
        """Empty a slot, so that nothing of a sequence that failed is left for the next one."""
        with self._lock:
            self.members[slot] = None
            if not any(self.members) and not self._arranging:
                self.arrays, self._pages, self._bindings, self.capacity = {}, {}, {}, 0
                return
            for name, array in self.arrays.items():
                _clear(self._pages[name], array[slot].nbytes, slot)

    def reserve(self, rows: int) -> None:
        """Make room for rows in each slot, keeping the present ones."""
        if rows <= self.capacity:
            return
        with self._lock:
            self._grow(rows)

    def _grow(self, rows: int) -> None:
        rows += -rows % LEAST
        capacity = max(rows, 2 * self.capacity, LEAST)
        arrays, pages = {}, {}
        for number, attn in self.layout.layers.items():
            shape = len(self.members), attn.num_kv_heads, capacity, attn.head_dim
            for name in (f"k{number}", f"v{number}"):
                arrays[name], pages[name] = _zeros(shape)
        for slot in range(len(self.members)):
            cache = self.member(slot)
            if cache and cache.length:
                for name, array in self.arrays.items():
                    arrays[name][slot, :, : cache.length] = array[slot, :, : cache.length]
        self._tables = [angles.table(capacity) for angles in self.layout.angles]
        self._bindings, self.arrays, self._pages = {}, arrays, pages
        self.capacity = capacity

    def run(
        self,
        session: int,
        caches: Sequence[KvCache],
        rows: Mapping[str, np.ndarray],
        more: Mapping[str, np.ndarray],
        outputs: Mapping[str, np.ndarray],
    ) -> None:
        """Read as many rows for each of some neighbours, one sequence after another.

        `rows` [B S, ...] are the inputs of the network by name, `more` what else the graph takes.
        Outputs are always the same ones; they are written in place.
        """
        count = _count_rows(rows) // len(caches)
        totals = np.array([cache.length + count for cache in caches], np.int32)
        self.reserve(int(totals.max()))
        given: dict[str, np.ndarray] = {}
        given |= {name: np.ascontiguousarray(each, np.float32) for name, each in rows.items()}
        given |= more
        given |= {"last": totals - 1, "total": np.array(totals.max(), np.int32)}
        opened = self.layout.sessions[session]
        binding = self._binding(session, caches[0].slot, len(caches))
        for name in given.keys() & opened.inputs:
            bind_input(binding, name, given[name])
        for name, array in outputs.items():
            bind_output(binding, name, array)
        opened.run(binding, len(caches) * count, self, given, outputs)
        for cache, total in zip(caches, totals.tolist(), strict=True):
            cache.length = total

    def _binding(self, session: int, first: int, count: int) -> Any:
        """Return what holds the memory of runs over some neighbours."""
        key = session, first, count
        if key not in self._bindings:
            opened = self.layout.sessions[session]
            binding = opened.binding()
            for name, array in self.arrays.items():
                bind_input(binding, f"past_{name}", array[first : first + count])
                bind_output(binding, f"present_{name}", array[first : first + count])
            for number, (cos, sin) in enumerate(self._tables):
                bind_input(binding, f"cos{number}", cos)
                bind_input(binding, f"sin{number}", sin)
            for name in self.inputs.keys() & opened.inputs:
                bind_input(binding, name, self.inputs[name])
            self._bindings[key] = binding
        return self._bindings[key]


def _count_rows(rows: Mapping[str, np.ndarray]) -> int:
    """Return how many rows the inputs have."""
    return len(next(iter(rows.values())))


def _zeros(shape: Sequence[int]) -> tuple[np.ndarray, mmap.mmap]:
    """Return zeros that take memory only once they are written."""
    pages = mmap.mmap(-1, 4 * prod(shape), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return np.frombuffer(pages, np.float32).reshape(shape), pages


def _clear(pages: mmap.mmap, length: int, number: int) -> None:
    """Make one of the parts of a length zeros again."""
    if sys.platform == "linux" and not length % mmap.PAGESIZE:  # elsewhere it need not be zeros
        pages.madvise(mmap.MADV_DONTNEED, number * length, length)
    else:
        pages[number * length : (number + 1) * length] = bytes(length)
