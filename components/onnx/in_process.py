"""A graph in ONNX Runtime, in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np

from .library import onnxruntime, run_options, session_options
from .memory import release_memory_after_load

Form = tuple[str, str, tuple[Any, ...]]  # a tensor's name, type and shape, as ONNX Runtime has them


class GraphTimeout(Exception):
    """A graph was stopped."""


class LocalGraph:
    """A loaded graph."""

    def __init__(self, path: Path, threads: int | None, providers: Sequence[str]) -> None:
        with release_memory_after_load():
            self.session: Any = onnxruntime().InferenceSession(
                str(path), session_options(threads), providers=list(providers)
            )
        self.providers: list[str] = self.session.get_providers()
        self.inputs = [_form(each) for each in self.session.get_inputs()]
        self.outputs = [_form(each) for each in self.session.get_outputs()]

    def run(self, feeds: Mapping[str, np.ndarray], seconds: float) -> dict[str, np.ndarray]:
        """Return every output by name; raise OutOfTime where an operator ended too late."""
        names, options = [name for name, *_ in self.outputs], run_options()
        timer = Timer(seconds, setattr, (options, "terminate", True))
        timer.daemon = True
        timer.start()
        try:
            return dict(zip(names, self.session.run(names, dict(feeds), options), strict=True))
        except Exception as error:
            if options.terminate:
                raise GraphTimeout from error
            raise
        finally:
            timer.cancel()


def _form(value: Any) -> Form:
    return value.name, value.type, tuple(value.shape)
