"""ONNX Runtime as a backend: its values are NumPy's arrays."""

from __future__ import annotations

from composer.core.backend import NumPy


class Onnx(NumPy):
    """Arrays of NumPy, which ONNX Runtime takes and gives."""

    name = "onnx"

    def suits(self) -> tuple[int, str]:
        return 2, "ONNX Runtime is the fastest here on a CPU"
