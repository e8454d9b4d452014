"""A graph in ONNX Runtime, in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .interruptible import run_interruptibly
from .library import open_session, session_options
from .memory import release_memory_after_load

Form = tuple[str, str, tuple[Any, ...]]  # a tensor's name, type and shape, as ONNX Runtime has them


class LocalGraph:
    """A loaded graph."""

    def __init__(self, path: Path, threads: int | None, providers: Sequence[str]) -> None:
        with release_memory_after_load():
            self.session = open_session(path, session_options(threads), providers)
        self.providers: list[str] = self.session.get_providers()
        self.inputs = [_form(each) for each in self.session.get_inputs()]
        self.outputs = [_form(each) for each in self.session.get_outputs()]

    def run(self, feeds: Mapping[str, np.ndarray], seconds: float) -> dict[str, np.ndarray]:
        """Return every output by name; raise GraphTimeout where an operator ended too late."""
        names = [name for name, *_ in self.outputs]
        found = run_interruptibly(partial(self.session.run, names, dict(feeds)), seconds)
        return dict(zip(names, found, strict=True))


def _form(value: Any) -> Form:
    return value.name, value.type, tuple(value.shape)
