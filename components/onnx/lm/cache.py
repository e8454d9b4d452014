"""The keys and values of one sequence, in memory that grows, written in place by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...models.attention import Attention
from ...models.rotary import Rotary
from .session import Session, bind_input, bind_output

LEAST = 256  # rows


class Angles:
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


class Cache:
    """Keys and values [heads, capacity, head_dim] of the layers by number; `length` rows were read.

    All sessions read and write them. Its capacity doubles when it is full, so that a row is copied
    once on average. `inputs` are what graphs take besides, the same for every run.
    """

    def __init__(
        self,
        sessions: Sequence[Session],
        layers: Mapping[int, Attention],
        angles: Sequence[Angles],
        inputs: Mapping[str, np.ndarray],
    ) -> None:
        self.sessions = sessions
        self.bindings: list[Any] = []
        self.layers = layers
        self.angles = angles
        self.inputs = inputs
        self.length = 0
        self.arrays: dict[str, np.ndarray] = {}
        self.capacity = 0

    def read(
        self,
        rows: Mapping[str, np.ndarray],
        more: Mapping[str, np.ndarray],
        outputs: Mapping[str, np.ndarray],
    ) -> None:
        """Read rows [S, ...], and write what follows the chosen ones of them to outputs [R, ...].

        `rows` are the inputs of the network by name, `more` other inputs of the graph. Outputs
        are always the same ones.
        """
        self._reserve(self.length + count_of(rows))
        for name, array in more.items():
            bind_input(self.bindings[0], name, array)
        for name, array in outputs.items():
            bind_output(self.bindings[0], name, array)
        self._run(0, rows)

    def read_many(self, rows: Mapping[str, np.ndarray]) -> None:
        """Read rows by the session for many, which gives no logits."""
        self._reserve(self.length + count_of(rows))
        self._run(1, rows)

    def _run(self, session: int, rows: Mapping[str, np.ndarray]) -> None:
        given = {name: np.ascontiguousarray(each, np.float32) for name, each in rows.items()}
        total = self.length + count_of(rows)
        given |= {"last": np.array([total - 1], np.int32), "total": np.array(total, np.int32)}
        for name in given.keys() & self.sessions[session].inputs:
            bind_input(self.bindings[session], name, given[name])
        self.sessions[session].run(self.bindings[session])
        self.length = total

    def use(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Take other inputs from now on."""
        self.inputs = inputs
        for session, binding in zip(self.sessions, self.bindings, strict=False):
            for name in inputs.keys() & session.inputs:
                bind_input(binding, name, inputs[name])

    def _reserve(self, rows: int) -> None:
        """Make room for rows, keeping the present ones."""
        if rows <= self.capacity:
            return
        capacity = max(rows, 2 * self.capacity, LEAST)
        bindings: list[Any] = [session.binding() for session in self.sessions]
        for number, attn in self.layers.items():
            for name in (f"k{number}", f"v{number}"):
                grown = np.zeros((1, attn.num_kv_heads, capacity, attn.head_dim), np.float32)
                if self.length:
                    grown[:, :, : self.length] = self.arrays[name][:, :, : self.length]
                self.arrays[name] = grown
                for binding in bindings:
                    bind_input(binding, f"past_{name}", grown)
                    bind_output(binding, f"present_{name}", grown)
        self.tables = [angles.table(capacity) for angles in self.angles]
        for number, (cos, sin) in enumerate(self.tables):
            for binding in bindings:
                bind_input(binding, f"cos{number}", cos)
                bind_input(binding, f"sin{number}", sin)
        self.bindings, self.capacity = bindings, capacity
        self.use(self.inputs)


def count_of(rows: Mapping[str, np.ndarray]) -> int:
    """Return how many rows the inputs have."""
    return len(next(iter(rows.values())))
