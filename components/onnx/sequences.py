"""A decoder's graph with the keys and values of its sequences, which stay in ONNX Runtime.

What the graph gives as its new cache goes into the next run as it is: nothing of it becomes an
array of NumPy, unless a sequence is cut, and none of it leaves the process that runs the graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .in_process import Form, LocalGraph
from .interruptible import run_interruptibly
from .isolated import IsolatedGraph
from .library import onnxruntime

Words = Mapping[str, Any]
DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class LocalSequences(LocalGraph):
    """A loaded graph; `caches` are the names of each cache as it comes in and goes out."""

    def __init__(
        self,
        path: Path,
        threads: int | None,
        providers: Sequence[str],
        caches: Sequence[tuple[str, str]],
    ) -> None:
        super().__init__(path, threads, providers)
        self.caches = caches
        forms = {name: (name, kind, shape) for name, kind, shape in self.inputs}
        self.empty = [_empty(forms[past]) for past, _ in caches]
        self.kept: dict[int, list[Any]] = {}

    def advance(
        self, words: Words, feeds: Mapping[str, np.ndarray], seconds: float
    ) -> dict[str, np.ndarray]:
        """Append rows to a sequence; return the outputs that are named.

        `words` has the number of the `sequence`, how many `rows` of it count, and the `outputs`. A
        cache that another graph made comes with the feeds.
        """
        handed = self.caches[0][0] in feeds
        past = [] if handed else self._past(words["sequence"], words["rows"])
        binding = self.session.io_binding()
        for name, array in feeds.items():
            binding.bind_cpu_input(name, array)
        for (name, _), value in zip(self.caches, past, strict=not handed):
            binding.bind_ortvalue_input(name, value)
        outputs = words["outputs"]
        for name in (*outputs, *(present for _, present in self.caches)):
            binding.bind_output(name, "cpu")
        run_interruptibly(partial(self._run_bound, binding, feeds), seconds)
        found = binding.get_outputs()
        self.kept[words["sequence"]] = found[len(outputs) :]
        return {name: value.numpy() for name, value in zip(outputs, found, strict=False)}

    def _run_bound(self, binding: Any, memory: Any, options: Any) -> None:
        """Run on what is bound; `memory` of it must stay until then."""
        self.session.run_with_iobinding(binding, options)

    def forget(self, sequence: int) -> None:
        """Let a sequence go."""
        self.kept.pop(sequence, None)

    def _past(self, sequence: int, rows: int) -> list[Any]:
        if rows == 0:
            return self.empty
        past = self.kept.get(sequence)
        if past is None:
            raise RuntimeError("what it remembered of this text is lost: its process was ended")
        return [_cut(value, rows) for value in past]


class IsolatedSequences(IsolatedGraph):
    """The same in a child process, with which the sequences end."""

    def __init__(self, *given: Any, **more: Any) -> None:
        self.forgotten: list[int] = []  # what the child is told with the next run
        super().__init__(*given, **more)

    def advance(
        self, words: Words, feeds: Mapping[str, np.ndarray], seconds: float
    ) -> dict[str, np.ndarray]:
        """Append rows to a sequence, as `LocalSequences` does."""
        with self.lock:
            child = self.child or self._load()
            forget, self.forgotten = self.forgotten, []
            return self._ask(child, {**words, "forget": forget}, feeds, seconds)[1]

    def forget(self, sequence: int) -> None:
        """Let a sequence go."""
        self.forgotten.append(sequence)


def _empty(form: Form) -> Any:
    """Return a cache without rows."""
    _, kind, (_, heads, _, head_dim) = form
    return _value(np.zeros((1, heads, 0, head_dim), DTYPES[kind]))


def _cut(value: Any, rows: int) -> Any:
    """Return a cache's first rows."""
    if value.shape()[2] == rows:
        return value
    return _value(np.ascontiguousarray(value.numpy()[:, :, :rows]))


def _value(array: np.ndarray) -> Any:
    return onnxruntime().OrtValue.ortvalue_from_numpy(array)
