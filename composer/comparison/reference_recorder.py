"""Record a reference that is not a bundle, such as a transformers model, as a dump."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import numpy as np

from composer.comparison.dump import Dump, Stage
from composer.core.backend import SHORT
from composer.formats.audio.waveform import Audio

LIBRARIES = ("numpy", "torch", "transformers")


class ReferenceRecorder:
    """Record named values in order: arrays, texts, audio, and outputs of torch modules.

    Names and axes are those of the bundle that will be compared with it: `soft` of `N O`. The axis
    of a row is the last one unless it is named.
    """

    def __init__(self, **about: Any) -> None:
        self.about: Mapping[str, Any] = about
        self.stages: dict[str, Stage] = {}

    def keep(self, name: str, value: Any, axes: str = "", along: str | None = None) -> Any:
        """Record a value, without a batch axis that is not named; return it."""
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
        axis = names.index(along) if along else -1
        self.stages[name] = Stage(array, dtype, names, axis)
        return value

    def hook(
        self, module: Any, name: str, axes: str, take: Callable[[Any], Any] | None = None
    ) -> Any:
        """Record the output of a torch module's next call; return the hook's handle."""

        def keep(_: Any, __: Any, out: Any) -> None:
            handle.remove()
            if take:
                out = take(out)
            elif isinstance(out, tuple):
                out = out[0]
            self.keep(name, out, axes)

        handle = module.register_forward_hook(keep)
        return handle

    def generate(
        self, model: Any, inputs: Mapping[str, Any], node: str = "answer", **settings: Any
    ) -> list[int]:
        """Run a transformers model greedily, record its ids and steps, and return the ids.

        `inputs` are its processor's outputs for one prompt; `settings` are generate's own, such as
        max_new_tokens. The ids exclude the stop id, as a bundle's do. `NODE_steps`
        are the logits [N, V] before each of them.
        """
        ends = settings.get("eos_token_id", model.generation_config.eos_token_id)
        out = model.generate(
            **inputs, **settings, do_sample=False, output_logits=True, return_dict_in_generate=True
        )
        if not isinstance(ends, list):
            ends = [ends]
        ids: list[int] = out.sequences[0, inputs["input_ids"].shape[1] :].tolist()
        if ids and ids[-1] in ends:
            ids = ids[:-1]
        self.keep(f"{node}.ids", np.array(ids, np.int64), "N")
        steps = np.zeros((0, 0), np.float32)
        if ids:
            steps = np.stack([_plain(logits[0])[0] for logits in out.logits[: len(ids)]])
        self.keep(f"{node}_steps", steps, "N V")
        return ids

    def dump(self) -> Dump:
        """Return what was recorded, in order, with the versions of the libraries."""
        versions = {name: version(name) for name in LIBRARIES if name in sys.modules}
        return Dump(dict(self.stages), {**self.about, "versions": versions})


def _plain(value: Any) -> tuple[np.ndarray, str]:
    """Convert an array or a torch tensor to NumPy, with the name of its true dtype."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        name = str(value.dtype).removeprefix("torch.")
        if name == "bfloat16":
            value = value.float()
        return np.array(value.numpy()), SHORT[name]
    array = np.array(value)
    return array, SHORT[array.dtype.name]
