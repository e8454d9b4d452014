"""What an encoder or a projector offers to calibration: the Linears of its networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from composer.core.calibration import Fold, OnInput
from composer.core.errors import ComposerError, Problem

from .network import WatchedFunction


class WatchedComponent:
    """A component that runs networks, of which each Linear can be watched; see `Watched`."""

    def runs(self) -> Sequence[Callable[..., Any]]:
        """Return its networks as its backend runs them."""
        return (self.run,)  # type: ignore[attr-defined]

    def input_widths(self) -> Mapping[str, int]:
        found = {}
        for run in self._watched():
            for name, tensor in run.network.tensors.items():
                path, _, part = name.rpartition(".")
                if part == "weight" and len(tensor.shape) == 2:
                    found[path] = tensor.shape[1]
        return found

    @contextmanager
    def watch(self, layers: Mapping[str, OnInput]) -> Iterator[None]:
        with ExitStack() as stack:
            for run in self._watched():
                own = {
                    p: seen for p, seen in layers.items() if f"{p}.weight" in run.network.tensors
                }
                stack.enter_context(run.watch(own))
            yield

    def folds(self) -> list[Fold]:
        found = []
        for run in self._watched():
            for fold in run.network.folds:
                if f"{fold.before}.weight" in run.network.tensors:
                    found.append(fold)
        return found

    def _watched(self) -> Iterator[WatchedFunction]:
        for run in self.runs():
            if not isinstance(run, WatchedFunction):
                message = "its backend runs a network that cannot be watched"
                raise ComposerError(Problem("R597", message))
            yield run
