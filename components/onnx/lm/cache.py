"""The keys and values of one sequence, in memory that grows, written in place by ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...checkpoints.llama.rotary import Rotary
from ...checkpoints.llama.settings import Settings
from .session import Session, put, take

LEAST = 256  # rows


class Angles:
    """Cosines and sines of positions, made as far as a cache has needed them."""

    def __init__(self, rotary: Rotary) -> None:
        self.rotary = rotary
        self.cos, self.sin = rotary.table(LEAST)

    def upto(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Return tables of at least so many positions; they are never written again."""
        cos, sin = self.cos, self.sin
        if len(cos) < rows:
            cos, sin = self.rotary.table(rows)
            self.cos, self.sin = cos, sin
        return cos, sin


class Cache:
    """Keys and values [layers, 2, heads, room, head] of the `read` rows of one sequence.

    Room doubles when it is full, so that a row is copied once on average.
    """

    def __init__(self, session: Session, settings: Settings, angles: Angles) -> None:
        self.session = session
        self.settings = settings
        self.angles = angles
        self.read = 0
        self.held: list[np.ndarray] = []
        self.room = 0

    def run(self, embeds: np.ndarray, chosen: np.ndarray, logits: np.ndarray) -> None:
        """Read rows [S, D], and write the logits [R, V] that follow the chosen ones of them."""
        total = self.read + len(embeds)
        self._reserve(total)
        counts = {
            "embeds": np.ascontiguousarray(embeds, np.float32),
            "chosen": chosen,
            "last": np.array([total - 1], np.int32),
            "total": np.array(total, np.int32),
        }
        for name, array in counts.items():
            put(self.binding, name, array)
        take(self.binding, "logits", logits)
        self.session.run(self.binding)
        self.read = total

    def _reserve(self, rows: int) -> None:
        """Make room for rows, keeping those that were read."""
        if rows <= self.room:
            return
        room = max(rows, 2 * self.room, LEAST)
        shape = (1, self.settings.kv_heads, room, self.settings.head)
        binding: Any = self.session.binding()
        for place in range(2 * self.settings.layers):
            grown = np.zeros(shape, np.float32)
            if self.read:
                grown[:, :, : self.read] = self.held[place][:, :, : self.read]
                self.held[place] = grown
            else:
                self.held[place:] = [grown]
            number, kind = divmod(place, 2)
            put(binding, f"past_{'kv'[kind]}{number}", grown)
            take(binding, f"present_{'kv'[kind]}{number}", grown)
        self.cos, self.sin = self.angles.upto(room)
        put(binding, "cos", self.cos)
        put(binding, "sin", self.sin)
        self.binding, self.room = binding, room
