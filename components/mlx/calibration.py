"""Watch what goes into the linear layers of a model of mlx-lm, whatever calls them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any

import numpy as np

from composer.core.calibration import OnInput
from composer.generation.decoder import DecoderInput
from composer.generation.text import Tokenizer

from .decoder import MlxLmDecoder

WINDOW = 256  # ids of a text that are read at once
ON_INPUT = "_on_input"


class WatchedDecoder:
    """What a component with a decoder of mlx-lm offers to calibration; see `Calibrated`.

    `inside` is what the paths of its layers begin with in the model, and not in a recipe.
    """

    decoder: MlxLmDecoder
    tokenizer: Tokenizer
    inside = ""

    def input_widths(self) -> Mapping[str, int]:
        found = input_widths(self.decoder)
        return {path.removeprefix(self.inside): width for path, width in found.items()}

    def watch(self, layers: Mapping[str, OnInput]) -> AbstractContextManager[None]:
        inside = {f"{self.inside}{path}": on_input for path, on_input in layers.items()}
        return watch(self.decoder, inside)

    def read_text(self, text: str) -> None:
        read_text(self.decoder, self.tokenizer.encode(text).ids)


def input_widths(decoder: MlxLmDecoder) -> dict[str, int]:
    """Return the width of what goes into each linear layer, by its path."""
    return {path: layer.weight.shape[1] for path, layer in _linears(decoder).items()}


@contextmanager
def watch(decoder: MlxLmDecoder, layers: Mapping[str, OnInput]) -> Iterator[None]:
    """Call each function with the rows that go into the linear layer of its path.

    A layer is watched where it stands, also inside what an adapter puts in its place.
    """
    import mlx.nn

    nn: Any = mlx.nn
    found = _linears(decoder)
    watched = [found[path] for path in layers]
    try:
        for layer, on_input in zip(watched, layers.values(), strict=True):
            object.__setattr__(layer, ON_INPUT, on_input)
            layer.__class__ = _watched_linear()
        yield
    finally:
        for layer in watched:
            layer.__class__ = nn.Linear
            vars(layer).pop(ON_INPUT, None)


def _linears(decoder: MlxLmDecoder) -> dict[str, Any]:
    import mlx.nn

    nn: Any = mlx.nn
    decoder.switch(())  # with an adapter on, another module stands where the layer is
    return {path: each for path, each in decoder.model.named_modules() if type(each) is nn.Linear}


@cache
def _watched_linear() -> Any:
    import mlx.core as mx
    import mlx.nn

    nn: Any = mlx.nn

    class WatchedLinear(nn.Linear):  # type: ignore[misc]
        """A linear layer that shows its input."""

        def __call__(self, x: Any) -> Any:
            rows = x.reshape(-1, x.shape[-1]).astype(mx.float32)
            vars(self)[ON_INPUT](np.array(rows))
            return super().__call__(x)

    return WatchedLinear


def read_text(decoder: MlxLmDecoder, ids: list[int]) -> None:
    """Run ids through the model, with no adapter on, a window of them at a time."""
    import mlx.core as mx

    for start in range(0, len(ids), WINDOW):
        with mx.stream(decoder.device):
            decoder.switch(())
            prompt = DecoderInput(decoder.rows(mx.array(ids[start : start + WINDOW])))
            mx.eval(decoder.call(None, prompt.part(0, len(prompt))))
