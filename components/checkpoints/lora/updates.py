"""Read low-rank updates as they are multiplied: A [in, r] and B [r, out], float32 and scaled."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..row_reader import RowReader
from .adapters import AdapterFacts
from .pair import LoraPair
from .selection import require_finite


class LowRank(NamedTuple):
    """What is added to a module's output for rows x: (x A) B."""

    a: np.ndarray
    b: np.ndarray

    def beside(self, other: LowRank) -> LowRank:
        """Return both updates as one: their columns and rows beside each other."""
        return LowRank(np.concatenate([self.a, other.a], 1), np.concatenate([self.b, other.b], 0))


def read_update(reader: RowReader, pair: LoraPair) -> LowRank:
    """Read a pair; its scale, or that of each of its blocks, goes into B."""
    a, b = reader.whole(pair.a), reader.whole(pair.b)
    if pair.transposed:
        a, b = b, a
    elif pair.flipped:
        a, b = a.T, b.T
    scales = np.full((a.shape[1], 1), pair.scale, np.float32)
    if pair.blocks:
        scales = np.array(pair.blocks, np.float32)[:, None]
    return LowRank(np.ascontiguousarray(a), np.ascontiguousarray(b * scales))


def read_updates(name: str, facts: AdapterFacts) -> dict[str, LowRank]:
    """Read an adapter by the paths of its modules; refuse numbers that are not finite."""
    reader, found, odd = RowReader(), dict[str, LowRank](), []
    for pair in facts.pairs:
        update = read_update(reader, pair)
        if not all(np.isfinite(each).all() for each in update):
            odd.append(pair.path)
        before = found.get(pair.path)
        found[pair.path] = before.beside(update) if before else update
    require_finite(name, odd)
    return found
