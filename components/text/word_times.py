"""When each word is spoken, by an aligner's logits at its marks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import Field

from composer.core.component import Component, ComponentConfig, Facts, Spec, method
from composer.core.errors import ComposerError, Problem

if TYPE_CHECKING:
    from composer.core.placement import Placement

SNAPPED = 2  # so many values in a row take the one beside them, more are spread between both


class WordTimes(Component, name="text.word_times"):
    """Turn logits over classes of time into the start and the end of each word, in seconds.

    The most probable class of a mark is its time. Times that go back are repaired as in
    Qwen3-ForcedAligner's own package: the longest run of them that never goes back stays. A word is
    `repaired` where that moved one of its times. `probability` is the smaller one of its two
    classes', as the network gave them. Times lie before `limit`.
    """

    class Config(ComponentConfig):
        """How long a class of time is."""

        resolution: float = Field(0.08, gt=0, le=10, description="Seconds to a class.")

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        return cls(spec.config.resolution)

    def __init__(self, resolution: float) -> None:
        self.resolution = resolution

    @method(
        logits="f32 M C",
        returns={
            "start": "f64 W",
            "end": "f64 W",
            "probability": "f64 W",
            "repaired": "bool W",
            "resolution": "f64 1",
            "limit": "f64 1",
        },
    )
    def __call__(self, logits: np.ndarray) -> dict[str, np.ndarray]:
        """Map logits [2 W, C], two rows for each word, to the times of W words."""
        if len(logits) % 2:
            message = f"{len(logits)} marks are no pairs of a start and an end"
            raise ComposerError(Problem("R554", message, hint="'at' of keep takes $asked.marks"))
        classes = logits.argmax(-1)
        step = self.resolution * 1000
        given = classes * step
        times = np.trunc(repair(given))
        start, end = times.reshape(-1, 2).T / 1000
        shares = probabilities(logits, classes).reshape(-1, 2)
        return {
            "start": start,
            "end": end,
            "probability": shares.min(1),
            "repaired": (times != np.trunc(given)).reshape(-1, 2).any(1),
            "resolution": np.array([self.resolution]),
            "limit": np.array([self.resolution * logits.shape[1]]),
        }


def probabilities(logits: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the softmax of each row [M, C] at its class."""
    wide = logits.astype(np.float64)
    odds = np.exp(wide - wide.max(-1, keepdims=True))
    chosen: np.ndarray = odds[np.arange(len(classes)), classes] / odds.sum(-1)
    return chosen


def repair(values: np.ndarray) -> np.ndarray:
    """Return values [M] of which none is smaller than one before it."""
    kept = longest_run(values)
    fixed = values.astype(np.float64)
    at = 0
    while at < len(values):
        if kept[at]:
            at += 1
            continue
        stop = at
        while stop < len(values) and not kept[stop]:
            stop += 1
        before = fixed[at - 1] if at else fixed[stop]
        after = fixed[stop] if stop < len(values) else before
        fixed[at:stop] = _between(before, after, stop - at)
        at = stop
    return fixed


def _between(before: float, after: float, count: int) -> np.ndarray:
    """Return values for places between two others: those of the nearer one, or evenly spread."""
    if count <= SNAPPED:
        return np.where(np.arange(1, count + 1) <= np.arange(count, 0, -1), before, after)
    return before + (after - before) / (count + 1) * np.arange(1, count + 1)


def longest_run(values: np.ndarray) -> np.ndarray:
    """Mark the longest subsequence that never goes back; of several, the one that is found first.

    That is the one whose end comes first, and then by each step back whose next place does.
    """
    lengths = np.ones(len(values), np.int64)
    parents = np.full(len(values), -1)
    for at in range(1, len(values)):
        reach = np.where(values[:at] <= values[at], lengths[:at], 0)
        best = int(reach.argmax())
        if reach[best]:
            lengths[at], parents[at] = reach[best] + 1, best
    kept = np.zeros(len(values), bool)
    at = int(lengths.argmax())
    while at >= 0:
        kept[at] = True
        at = int(parents[at])
    return kept
