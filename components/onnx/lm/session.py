"""Open the graph of a decoder in ONNX Runtime and run it on memory that is given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from composer.core.errors import ComposerError, Problem
from composer.core.suggest import listed

from ..library import onnxruntime, run_options, session_options
from ..memory import released
from ..session import CPU, first_line
from ..weights import Weights, private_weights

if TYPE_CHECKING:
    from composer.core.placement import Placement


class Session:
    """A loaded decoder; `where` names its checkpoint in errors."""

    def __init__(
        self, where: str, nbytes: int, build: Callable[[Weights], None], placement: Placement
    ) -> None:
        self.where = where
        for name in placement.get("providers") or (CPU,):
            if name != CPU:
                self.fail(
                    "R531",
                    f"onnx.lm has no kernels for the execution provider {name}",
                    hint=f"place it by providers: {listed([CPU])}, or use mlx.lm",
                )
        self._options = run_options()
        with private_weights(nbytes) as weights:
            build(weights)
            self._session: Any = self._opened(
                weights.close(), session_options(placement.get("threads"))
            )

    def _opened(self, path: Path, options: Any) -> Any:
        try:
            with released():
                return onnxruntime().InferenceSession(str(path), options, providers=[CPU])
        except Exception as error:
            self.fail("R532", f"ONNX Runtime cannot load its graph: {first_line(error)}")

    def call(self, inputs: dict[str, np.ndarray]) -> np.ndarray:
        """Return the only output for inputs by name."""
        try:
            made: np.ndarray
            (made,) = self._session.run(None, inputs, self._options)
        except Exception as error:
            self.fail("R533", f"ONNX Runtime failed: {first_line(error)}")
        return made

    def binding(self) -> Any:
        """Return what holds the memory of one run's inputs and outputs."""
        return self._session.io_binding()

    def run(self, binding: Any) -> None:
        """Run on the memory that is bound."""
        try:
            self._session.run_with_iobinding(binding, self._options)
        except Exception as error:
            self.fail("R533", f"ONNX Runtime failed: {first_line(error)}")

    def fail(self, code: str, message: str, hint: str | None = None) -> NoReturn:
        """Raise one problem of this decoder."""
        raise ComposerError(Problem(code, f"{self.where}: {message}", hint=hint))


def bind_input(binding: Any, name: str, array: np.ndarray) -> None:
    """Bind an input to an array's own memory, which must stay."""
    kind = array.dtype.type
    binding.bind_input(name, "cpu", 0, kind, list(array.shape), array.ctypes.data)


def bind_output(binding: Any, name: str, array: np.ndarray) -> None:
    """Bind an output to an array's own memory, which must stay."""
    kind = array.dtype.type
    binding.bind_output(name, "cpu", 0, kind, list(array.shape), array.ctypes.data)
