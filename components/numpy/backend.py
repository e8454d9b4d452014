"""NumPy as a backend of its own: the reference that others are compared with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from composer.core.backend import NumpyArrays
from composer.core.placement import Placement

from .network import NumpyNetwork


class NumpyBackend(NumpyArrays):
    """Arrays of NumPy, computed by NumPy."""

    def compile(self, network: Any, placement: Placement) -> Callable[..., Any]:
        return NumpyNetwork(network)
