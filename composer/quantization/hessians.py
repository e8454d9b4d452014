"""Collect what the modules of a component see, a few modules at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from composer.core.calibration import OnInput

ROOM = 2_000_000_000  # bytes of the sums that are kept at once

Watched = Callable[[Mapping[str, OnInput]], None]


@dataclass
class Hessians:
    """The sums of x x^T over all rows x that go into modules, by path.

    `columns` are the widths of their inputs, in the order in which they will be asked for. `run`
    runs what they are calibrated on once while it is watched: again whenever one is asked for
    that is not kept, for it and for those that follow as far as there is `room`.
    """

    run: Watched
    columns: Mapping[str, int]
    room: int = ROOM
    kept: dict[str, np.ndarray] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)

    def take(self, path: str) -> np.ndarray:
        """Return the sum of a module, float32 [K, K], and keep it no longer."""
        if path not in self.kept:
            self._collect(path)
        return self.kept.pop(path)

    def _collect(self, first: str) -> None:
        self.kept = {}
        paths, room = [*self.columns], self.room
        for path in paths[paths.index(first) :]:
            width = self.columns[path]
            room -= 4 * width * width
            if room < 0 and self.kept:
                break
            self.kept[path] = np.zeros((width, width), np.float32)
            self.rows[path] = 0
        self.run({path: partial(self._add, path) for path in self.kept})

    def _add(self, path: str, rows: np.ndarray) -> None:
        self.kept[path] += rows.T @ rows
        self.rows[path] += len(rows)
