"""What a component offers to whoever calibrates its quantization."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

import numpy as np

OnInput = Callable[[np.ndarray], None]  # is called with rows float32 [N, K]


@runtime_checkable
class Calibrated(Protocol):
    """A component whose linear layers can be watched while it runs.

    Its methods are called on the backend's own thread, and name layers as a recipe does.
    """

    def input_widths(self) -> Mapping[str, int]:
        """Return the width of what goes into each layer that can be watched."""

    def watch(self, layers: Mapping[str, OnInput]) -> AbstractContextManager[None]:
        """Pass on what goes into layers while the context lasts."""

    def read_text(self, text: str) -> None:
        """Run plain text through the model, with no adapter on."""
