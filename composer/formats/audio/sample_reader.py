"""Read samples of blocks that follow one another, without all of them in memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


class SampleReader:
    """The next samples of blocks, seen before they are taken."""

    def __init__(self, blocks: Iterator[np.ndarray]) -> None:
        self._blocks = blocks
        self._buffer = np.zeros(0, np.float32)

    def see(self, count: int) -> np.ndarray:
        """Return the next samples."""
        while len(self._buffer) < count:
            self._buffer = np.concatenate([self._buffer, next(self._blocks)])
        return self._buffer[:count]

    def take(self, count: int) -> np.ndarray:
        """Return the next samples, and go on behind them."""
        taken = self.see(count).copy()
        self._buffer = self._buffer[count:]
        return taken

    def skip(self, count: int) -> None:
        """Go on behind the next samples."""
        while count > len(self._buffer):
            count -= len(self._buffer)
            self._buffer = next(self._blocks)
        self._buffer = self._buffer[count:]
