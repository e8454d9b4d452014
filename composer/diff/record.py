"""Record a reference that is no bundle, such as a model of transformers, as a dump."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from composer.audio import Audio
from composer.diff.dump import Dump, Stage


class Recorder:
    """Keep named values in order: arrays, texts, audio, and what modules of torch give.

    Names and axes are those of the bundle that will be held against it: `soft` of `N O`. The axis
    that a row lies along is the last one unless it is named.
    """

    def __init__(self, **about: Any) -> None:
        self.about: Mapping[str, Any] = about
        self.stages: dict[str, Stage] = {}

    def keep(self, name: str, value: Any, axes: str = "", along: str | None = None) -> Any:
        """Keep a value, without its batch axis where it has one more than is named; return it."""
        if isinstance(value, str):
            self.stages[name] = Stage(value, "text")
            return value
        if isinstance(value, Audio):
            self.stages[name] = Stage(value, "audio", (f"{value.rate} Hz",), 0)
            return value
        names, (array, dtype) = tuple(axes.split()), _plain(value)
        if array.ndim == len(names) + 1 and array.shape[0] == 1:
            array = array[0]
        if array.ndim != len(names):
            raise ValueError(f"'{name}' is {list(array.shape)}, which is no '{axes}'")
        at = names.index(along) if along else -1
        self.stages[name] = Stage(array, dtype, names, at)
        return value

    def hook(
        self, module: Any, name: str, axes: str, take: Callable[[Any], Any] | None = None
    ) -> Any:
        """Keep what a module of torch gives when it is next called; return the hook's handle."""

        def keep(_: Any, __: Any, out: Any) -> None:
            handle.remove()
            given = take(out) if take else out[0] if isinstance(out, tuple) else out
            self.keep(name, given, axes)

        handle = module.register_forward_hook(keep)
        return handle

    def dump(self) -> Dump:
        """Return what was kept, in the order in which it was."""
        return Dump(dict(self.stages), self.about)


def _plain(value: Any) -> tuple[np.ndarray, str]:
    """Return an array or a tensor of torch as NumPy holds it, and the name of its true dtype."""
    from composer.backend import SHORT

    if hasattr(value, "detach"):
        value = value.detach().cpu()
        name = str(value.dtype).removeprefix("torch.")
        value = value.float() if name == "bfloat16" else value
        return np.array(value.numpy()), SHORT[name]
    array = np.array(value)
    return array, SHORT[array.dtype.name]
