"""What a component is calibrated on: what it reads or runs again while it is watched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from composer.core.calibration import Answer, LargestLogits, OnInput, expert_path
from composer.formats import Headers
from composer.formats.affine_packing import float_rows
from composer.formats.packing import ModuleToPack, Packing
from composer.formats.safetensors import Tensor
from composer.runtime.bundle import Bundle

TOP = 1024  # logits of a row that are kept one by one


@dataclass(frozen=True)
class Samples:
    """A component of a bundle that is open, and how it is packed.

    A decoder reads `answers`. For another component `runs` are what the bundle's `run` is given:
    the inputs of a task, and its nodes up to those of the component.
    """

    bundle: Bundle
    component: str
    packing: Packing
    answers: Sequence[Answer] = ()
    runs: Sequence[Mapping[str, Any]] = ()

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method of the component on its backend's thread."""
        called = getattr(self.bundle.component(self.component), method)
        return self.bundle.call(self.component, called, *arguments)

    def modules(self, experts: bool = False) -> dict[ModuleToPack, Tensor]:
        """Return the modules that can be calibrated with what they are stored as, in that order.

        Those of experts are among them where they are asked for.
        """
        widths = self.call("input_widths")
        by_tensor: dict[str, list[ModuleToPack]] = {}
        for module in self.packing.modules:
            able = module.path in widths or (experts and expert_path(module.path, 0) in widths)
            if able and module.scheme.mode == "affine":
                by_tensor.setdefault(module.stored, []).append(module)
        found = {}
        for name, tensor in self.stored().items():
            for module in by_tensor.get(name, ()):
                found[module] = tensor
        return found

    def stored(self) -> dict[str, Tensor]:
        """Return the tensors of the files that are packed."""
        found: dict[str, Tensor] = {}
        headers = Headers()
        for place in self.packing.files or (self.packing.weights,):
            found |= headers.safetensors(place)
        return found

    def rows(self, tensor: Tensor) -> np.ndarray:
        """Return a stored matrix as float32 [N, K]; a vector is one row."""
        assert tensor.file.path
        with tensor.file.path.open("rb") as file:
            file.seek(tensor.offset)
            return float_rows(file.read(tensor.nbytes), tensor.dtype, tensor.shape[-1])

    def watch(self, layers: Mapping[str, OnInput]) -> None:
        """Let the component see everything once, and pass on what goes into some layers."""
        watched = self.call("watch", layers)
        self.bundle.call(self.component, watched.__enter__)
        try:
            for answer in self.answers:
                self.call("read", answer)
            for run in self.runs:
                self.bundle.run(**run)
        finally:
            self.bundle.call(self.component, watched.__exit__, None, None, None)

    def logits(self) -> list[LargestLogits]:
        """Return the largest logits before each id of every answer."""
        return [largest_logits(self.call("read", answer)) for answer in self.answers]


def largest_logits(logits: np.ndarray, most: int = TOP) -> LargestLogits:
    """Return the largest of each row of logits [N, V] as log-probabilities, and the rest as one.

    A row at a time is in float64: a vocabulary has as many numbers as a small table.
    """
    parts = [_largest(row, min(most, len(row))) for row in logits]
    ids, found, rest = zip(*parts, strict=True)
    return LargestLogits(np.stack(ids), np.stack(found), np.array(rest, np.float32))


def _largest(logits: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, float]:
    row = logits - np.logaddexp.reduce(logits, dtype=np.float64)
    ids = np.argpartition(-row, most - 1)[:most]
    found = row[ids].astype(np.float32)
    row[ids] = -np.inf
    return ids, found, float(np.logaddexp.reduce(row))
