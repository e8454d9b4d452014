"""ONNX Runtime as a backend: its values are NumPy's arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from composer.core.backend import NumPy
from composer.core.placement import Placement

from .network import OnnxNetwork


class Onnx(NumPy):
    """Arrays of NumPy, which ONNX Runtime takes and gives."""

    name = "onnx"
    placement_keys = frozenset({"providers", "threads"})

    def suits(self) -> tuple[int, str]:
        return 2, "ONNX Runtime is the fastest here on a CPU"

    def compile(self, network: Any, placement: Placement) -> Callable[..., Any]:
        return OnnxNetwork(network, placement)
