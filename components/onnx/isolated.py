"""A graph in ONNX Runtime, in a child process that ends when its limits do.

An untrusted graph computes what its author likes: inside one operator ONNX Runtime does not
stop, and its arena's limits do not hold for all that an operator takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from composer.core.child_process import Child, ChildExited, ChildTimeout, load_limits

from .in_process import Form
from .interruptible import GraphTimeout

MODULE = "composer.components.onnx.session_child"
LOAD_SECONDS = 60.0  # beside what reading takes


class IsolatedGraph:
    """A graph in a child process; one that was ended is loaded anew by the next run."""

    def __init__(
        self,
        path: Path,
        nbytes: int,
        threads: int | None,
        providers: Sequence[str],
        memory: float | None,
        **more: Any,
    ) -> None:
        self.request = {
            "path": str(path),
            "threads": threads,
            "providers": list(providers),
            **more,
        }
        usual, self.seconds = load_limits(nbytes, LOAD_SECONDS)
        self.memory = int(memory * 1e9) if memory else usual
        self.lock = Lock()
        self.child: Child | None = None
        self.providers: list[str] = []
        self.inputs: list[Form] = []
        self.outputs: list[Form] = []
        self._load()

    def run(self, feeds: Mapping[str, np.ndarray], seconds: float) -> dict[str, np.ndarray]:
        """Return every output by name; raise GraphTimeout where the child had to be ended."""
        with self.lock:
            child = self.child or self._load()
            return self._ask(child, {}, feeds, seconds)[1]

    def _load(self) -> Child:
        child = Child(MODULE, self.memory)
        found, _ = self._ask(child, self.request, {}, self.seconds)
        self.providers = [str(name) for name in found["providers"]]
        self.inputs, self.outputs = _forms(found["inputs"]), _forms(found["outputs"])
        self.child = child
        return child

    def _ask(
        self,
        child: Child,
        words: Mapping[str, object],
        feeds: Mapping[str, np.ndarray],
        limit: float,
    ) -> tuple[dict[str, list[list[str]]], dict[str, np.ndarray]]:
        self.child = None
        try:
            reply, arrays = child.ask(words, feeds, limit)
        except ChildTimeout:
            raise GraphTimeout from None
        except ChildExited as error:
            most = f"{self.memory / 1e9:.3g} GB"
            message = f"its process ended ({error}): a fault, or more memory than {most}"
            raise RuntimeError(message) from None
        if "error" in reply:
            if words is not self.request:
                self.child = child
            raise RuntimeError(str(reply["error"]))
        self.child = child
        return reply, arrays


def _forms(tensors: Sequence[Sequence[str]]) -> list[Form]:
    return [(str(name), str(kind), tuple(shape)) for name, kind, shape in tensors]
