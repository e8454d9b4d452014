"""The values of one run, each in the backend that it lives in, measured against its port."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from composer.core import registry
from composer.core.errors import ComposerError, Problem
from composer.core.placement import HOST
from composer.core.ports import FLOATS
from composer.runtime.worker import BackendWorker

if TYPE_CHECKING:
    from composer.checker.padding import ClipLengthAxis
    from composer.core.ports import Port
    from composer.graph.graph import Graph


class RunValues:
    """Values by name; those in `taps` are copied out as they come, before any is dropped.

    Those that nodes made take at most `most` bytes together; None is no limit.
    """

    def __init__(
        self,
        graph: Graph,
        worker: Callable[[str], BackendWorker],
        taps: Collection[str],
        lengthened: Mapping[str, ClipLengthAxis],
        most: int | None = None,
    ) -> None:
        self.graph = graph
        self.worker = worker
        self.taps = taps
        self.lengthened = lengthened
        self.most = most
        self.tapped: dict[str, Any] = {}
        self._values: dict[str, Any] = {}
        self._lengths: dict[Any, tuple[int, str]] = {}

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def add(self, name: str, value: Any) -> None:
        """Take a value in; raise ComposerError unless it is what its port declares."""
        self._values[name] = value
        self._require_room()
        port = self.graph.values[name].port
        if port is not None and port.kind == "tensor":
            self._measure(name, port, value)
        if name in self.taps:
            self.tapped[name] = self.plain(name)

    def _require_room(self) -> None:
        """Refuse more bytes than all that nodes made may have together."""
        if self.most is None:
            return
        made = self._values.keys() - self.graph.inputs.keys()
        total = sum(getattr(self._values[name], "nbytes", 0) for name in made)
        if total > self.most:
            message = f"the values of the run take {total / 1e9:.3g} GB"
            hint = "if you trust the bundle, --trust spares it the limit"
            found = f"{message}; the limit is {self.most / 1e9:.3g}"
            raise ComposerError(Problem("R558", found, hint=hint))

    def drop(self, name: str) -> None:
        """Let a value go."""
        self._values.pop(name, None)

    def plain(self, name: str) -> Any:
        """Return a value as a user takes it: NumPy, text or audio."""
        value = self._values[name]
        port = self.graph.values[name].port
        if port is None or port.kind != "tensor":
            return value
        owner = self._owner(value)
        return np.array(owner.call(owner.backend.to_numpy, value))

    def summarize(self, name: str) -> str:
        """Return a value's dtype and shape, or what else it is, for a message."""
        value = self._values.get(name)
        if isinstance(value, str):
            return f"({len(value)} characters)"
        try:
            owner = self._owner(value)
        except TypeError:
            return type(value).__name__.lower()
        return f"{owner.backend.dtype(value)} {list(owner.backend.shape(value))}"

    def count_infinite(self, name: str) -> int:
        """Count the numbers of a value that are NaN or infinite."""
        value = self._values[name]
        port = self.graph.values[name].port
        if port is None or port.kind != "tensor":
            return 0
        owner = self._owner(value)
        found: int = owner.call(owner.backend.count_infinite, value)
        return found

    def is_zero(self, name: str) -> bool:
        """Return whether a tensor of floats has several numbers, and all of them are 0."""
        port = self.graph.values[name].port
        value = self._values[name]
        if port is None or port.kind != "tensor" or (self.size(name) or 0) < 2:
            return False
        owner = self._owner(value)
        if owner.backend.dtype(value) not in FLOATS:
            return False
        found: bool = owner.call(owner.backend.is_all_zero, value)
        return found

    def size(self, name: str) -> int | None:
        """Return how many numbers a value has; None where it is no tensor."""
        port = self.graph.values[name].port
        if port is None or port.kind != "tensor":
            return None
        value = self._values[name]
        return prod(self._owner(value).backend.shape(value))

    def rows(self, name: str) -> int:
        """Return the length of a tensor's first axis; 0 of what has none."""
        port = self.graph.values[name].port
        if port is None or port.kind != "tensor" or not port.dims:
            return 0
        value = self._values[name]
        rows: int = self._owner(value).backend.shape(value)[0]
        return rows

    def to_backend(self, value: Any, backend: str, dtype: str | None) -> Any:
        """Return a tensor in a backend and a dtype; dtype None leaves it as it is."""
        owner, target = self._owner(value), self.worker(backend)
        have = owner.call(owner.backend.dtype, value)
        dtype = dtype or have
        if dtype == "bool":
            return owner.call(owner.backend.to_numpy, value).astype(bool)
        if owner is target and have == dtype:
            return value
        if owner is target:
            return owner.call(owner.backend.cast, value, dtype)
        array = owner.call(owner.backend.to_numpy, value)
        return target.call(target.backend.from_numpy, array, dtype)

    def _owner(self, value: Any) -> BackendWorker:
        """Return the worker of the backend that a tensor lives in."""
        return self.worker(registry.backend_of(value).name)

    def _measure(self, name: str, port: Port, value: Any) -> None:
        """Compare a value's dtype and dims with what was declared, and with each other."""
        owner = self._owner(value)
        owner.call(owner.backend.wait_until_computed, value)
        dtype, shape = owner.backend.dtype(value), owner.backend.shape(value)
        dims = self.graph.values[name].dims
        # NumPy has no bfloat16: what is given or fed as one is float32 there.
        stand_in = owner.backend.name == HOST and (port.dtype, dtype) == ("bf16", "f32")
        same = port.dtype in (None, dtype) or stand_in
        if not same or len(shape) != len(dims):
            promised = f"'{port}'" if str(port) else "a scalar"
            message = f"${name} came out as {dtype} {list(shape)}, but {promised} was declared"
            raise ComposerError(Problem("R503", message))
        for axis, length in enumerate(shape):
            self._compare_length(name, port, axis, length)

    def _compare_length(self, name: str, port: Port, axis: int, length: int) -> None:
        """Compare the length of an axis with that of its dim; remember the first of a free one."""
        dims, dim = self.graph.dims, self.graph.values[name].dims[axis]
        bound = dims.bound(dim, f"the port '{port}'")
        if bound:
            expected, witness = bound.value, bound.witness
        else:
            here = (length, f"axis {axis} of ${name}")
            expected, witness = self._lengths.setdefault(dims.root(dim), here)
        if expected != length:
            message = f"axis {axis} of ${name} is {length}, but {expected} was expected"
            cause = f"{expected} comes from {witness}"
            hint = self._length_hint(name, axis, expected, length)
            raise ComposerError(Problem("R501", message, causes=(cause,), hint=hint))

    def _length_hint(self, name: str, axis: int, expected: int, length: int) -> str | None:
        """Return how a value comes to have the length that was expected of it."""
        varying = self.lengthened.get(name)
        if varying is None or varying.axis != axis:
            return None
        longer = ", and cut longer clips: split: {seconds: ...} of the audio input"
        return f"{varying.hint(expected)}{longer if length > expected else ''}"
