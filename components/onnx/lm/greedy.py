"""Find the largest of a head's products, of which coarse ones and their bounds are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...checkpoints.modules import Module
from ...checkpoints.rows import RowReader, pieces
from ..head import HeadRows


@dataclass
class Scores:
    """What the graph gave for a row.

    `products` [V] are the head's, coarse ones unless they are `whole`, of the row `hidden` [K],
    whose first plane leaves out `rest` [K]; `logits` [V] is what is made of them, `inputs` what the
    row was made from. Whole ones may not have been `asked`: those of others in a batch were.
    """

    logits: np.ndarray
    products: np.ndarray
    hidden: np.ndarray
    rest: np.ndarray
    whole: bool
    asked: bool
    inputs: Mapping[str, np.ndarray]


class Winner:
    """The stored rows of a head, and what bounds their coarse products."""

    def __init__(self, module: Module, rows: HeadRows) -> None:
        self.module = module
        self.rows = rows
        self.reader = RowReader()
        self.reader.dense(module, 0, 1)

    def find(self, scores: Scores) -> int:
        """Return the first row of the largest product, as it is in float64.

        No other row can have a larger one: its coarse product and its bound are below those of
        another.
        """
        bounds = self.bounds(scores.hidden, scores.rest)
        least = (scores.products - bounds).max()
        (rows,) = np.nonzero(scores.products + bounds >= least)
        if len(rows) == 1:
            return int(rows[0])
        return int(rows[self.products(rows, scores.hidden).argmax()])

    def bounds(self, hidden: np.ndarray, rest: np.ndarray) -> np.ndarray:
        """Return how far each coarse product [V] can be from the exact one, float64.

        By the inequality of Cauchy and Schwarz for the bytes and the plane that were left out, and
        for the rounding of float32: each group has one sum of terms of at most 255 steps, and is
        scaled and added.
        """
        wide = hidden.astype(np.float64)
        left_out = self.rows.error * np.linalg.norm(wide)
        left_out += self.rows.norm * np.linalg.norm(rest.astype(np.float64))
        rounded = 255 * (self.rows.groups + 8) * 2.0**-23 * np.abs(wide).sum()
        found: np.ndarray = left_out * (1 + 1e-6) + self.rows.step * rounded
        return found

    def products(self, rows: np.ndarray, hidden: np.ndarray) -> np.ndarray:
        """Multiply stored rows by one in float64."""
        for file in self.reader.files.values():
            file.require_unchanged()
        wide = hidden.astype(np.float64)
        if len(rows) > self.module.shape[0] // 16:
            cuts = pieces(self.module)
            every = [self.reader.dense(self.module, *cut) @ wide for cut in cuts]
            chosen: np.ndarray = np.concatenate(every)[rows]
            return chosen
        found = np.empty(len(rows))
        for place, row in enumerate(rows.tolist()):
            found[place] = self.reader.dense(self.module, row, row + 1)[0] @ wide
        return found
