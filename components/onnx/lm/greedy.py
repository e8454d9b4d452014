"""Find the largest of a head's products, of which coarse ones and their bounds are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...checkpoints.modules import Module
from ...checkpoints.row_reader import RowReader, row_ranges
from ..head_bounds import CoarseHeadBounds


@dataclass
class CoarseScores:
    """What the graph gave for a row.

    `products` [V] are the head's of the row `hidden` [K], whose first plane leaves out `rest` [K];
    `logits` [V] is what is made of whole ones, None of coarse ones, and `inputs` what the row was
    made from. Whole ones may not have been `asked`: those of others in a batch were.
    """

    logits: np.ndarray | None
    products: np.ndarray
    hidden: np.ndarray
    rest: np.ndarray
    asked: bool
    inputs: Mapping[str, np.ndarray]


class ExactGreedyHead:
    """The stored rows of a head, and what bounds their coarse products."""

    def __init__(self, module: Module, rows: CoarseHeadBounds) -> None:
        self.module = module
        self.rows = rows
        bounds = rows.error, rows.norm, rows.step, rows.offset
        self.largest = [float(each.max()) for each in bounds]
        self.reader = RowReader()
        self.reader.dense(module, 0, 1)

    def find(self, scores: CoarseScores) -> int:
        """Return the first row of the largest product, as it is in float64.

        No other row can have a larger one: its coarse product and its bound are below those of
        another.
        """
        near = self.near(scores)
        products, bounds = scores.products[near], self.bounds(scores.hidden, scores.rest, near)
        with np.errstate(invalid="ignore"):  # -inf with an infinite bound
            rows = near[products + bounds >= (products - bounds).max()]
        if len(rows) == 1:
            return int(rows[0])
        return int(rows[self.products(rows, scores.hidden).argmax()])

    def near(self, scores: CoarseScores) -> np.ndarray:
        """Return the rows within twice the largest bound of the largest product: no other wins."""
        most = self._bound(scores.hidden, scores.rest, *self.largest)
        least = np.float32(scores.products.max() - 2 * most)
        (rows,) = np.nonzero(scores.products >= np.nextafter(least, np.float32(-np.inf)))
        return rows

    def bounds(self, hidden: np.ndarray, rest: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return how far the coarse products of rows [N] can be from the exact ones, float64."""
        every = self.rows
        parts = (each[rows] for each in (every.error, every.norm, every.step, every.offset))
        found: np.ndarray = self._bound(hidden, rest, *parts)
        return found

    def _bound(
        self, hidden: np.ndarray, rest: np.ndarray, error: Any, norm: Any, step: Any, offset: Any
    ) -> Any:
        """Bound what the bytes and the plane that were left out add, by Cauchy and Schwarz.

        And the rounding of float32: each group has one sum of terms of at most 255 steps, and is
        scaled and added; so is the sum of its numbers, by its offset.
        """
        wide = hidden.astype(np.float64)
        left_out = error * np.linalg.norm(wide)
        left_out += norm * np.linalg.norm(rest.astype(np.float64))
        rounded = (self.rows.groups + 8) * 255 * step
        rounded += (self.rows.groups + self.rows.size + 8) * offset
        return left_out * (1 + 1e-6) + rounded * 2.0**-23 * np.abs(wide).sum()

    def products(self, rows: np.ndarray, hidden: np.ndarray) -> np.ndarray:
        """Multiply stored rows by one in float64."""
        for file in self.reader.files.values():
            file.require_unchanged()
        wide = hidden.astype(np.float64)
        if len(rows) > self.module.shape[0] // 16:
            cuts = row_ranges(self.module)
            every = [self.reader.dense(self.module, *cut) @ wide for cut in cuts]
            chosen: np.ndarray = np.concatenate(every)[rows]
            return chosen
        found = np.empty(len(rows))
        for place, row in enumerate(rows.tolist()):
            found[place] = self.reader.dense(self.module, row, row + 1)[0] @ wide
        return found
