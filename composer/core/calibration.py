"""What a component offers to whoever calibrates its quantization."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

OnInput = Callable[[np.ndarray], None]  # is called with rows float32 [N, K]


def expert_path(path: str, number: int) -> str:
    """Return what an expert of a layer is called."""
    return f"{path}[{number}]"


@dataclass(frozen=True)
class Answer:
    """The ids [N] that a decoder answered, and what it was given, by the keywords of `replay`.

    A plain text has no inputs: its ids are all there is.
    """

    ids: np.ndarray
    inputs: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Fold:
    """Layers that alone read what the norm or the layer `before` gives.

    Its outputs can be divided by what their columns are multiplied by.
    """

    before: str
    layers: tuple[str, ...]


class LargestLogits(NamedTuple):
    """The largest log-probabilities [N, K] of rows of logits, their ids, and that of the rest [N].

    The rest of a row that has no more is minus infinity.
    """

    ids: np.ndarray
    logprobs: np.ndarray
    rest: np.ndarray


class LearntScales(NamedTuple):
    """The scales and biases of a packed layer, float32 [N, G]."""

    scales: np.ndarray
    biases: np.ndarray


@runtime_checkable
class Watched(Protocol):
    """A component whose linear layers can be watched while it runs.

    Its methods are called on the backend's own thread, and name layers as a recipe does. Of a layer
    with experts each is one, by `expert_path`.
    """

    def input_widths(self) -> Mapping[str, int]:
        """Return the width of what goes into each layer that can be watched."""

    def watch(self, layers: Mapping[str, OnInput]) -> AbstractContextManager[None]:
        """Pass on what goes into layers while the context lasts."""

    def folds(self) -> Sequence[Fold]:
        """Return where a scale can move; what an adapter reads or changes is left out."""


@runtime_checkable
class Calibrated(Watched, Protocol):
    """A decoder that reads answers again while its linear layers are watched, and lets them learn.

    Its methods are called on the backend's own thread.
    """

    def texts(self, text: str) -> list[Answer]:
        """Return a plain text in windows, which are read with no adapter on."""

    def read(self, answer: Answer) -> np.ndarray:
        """Return the logits float32 [N, V] before each id of an answer, read all at once."""

    def distill(
        self,
        answers: Sequence[Answer],
        logits: Sequence[LargestLogits],
        dtypes: Mapping[str, str],
        seed: int,
    ) -> Mapping[str, LearntScales]:
        """Return scales and biases of packed layers with which the logits are nearest to these.

        `dtypes` are what they are rounded to when they are stored, by path. Codes stay as they are.
        """
