"""Choose the next token from logits."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from composer.core.errors import ComposerError, Problem


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen; temperature 0 is greedy, and top_p and top_k have no effect.

    `top_k` 0 keeps every token, `top_p` 1 every probability. A temperature above 0, however small,
    samples, even if only among equally likely tokens.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        problems = [Problem("R510", text) for text in self._errors()]
        if problems:
            raise ComposerError(problems)

    def _errors(self) -> list[str]:
        errors = []
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            errors.append(f"temperature is {self.temperature}; it must be 0 or more, and finite")
        if not 0 < self.top_p <= 1:
            errors.append(f"top_p is {self.top_p}; it must be above 0 and at most 1")
        if self.top_k < 0:
            errors.append(f"top_k is {self.top_k}; it must be 0, which keeps all, or more")
        if not 0 <= self.seed < 2**64:
            errors.append(f"seed is {self.seed}; it must be from 0 to 2**64 - 1")
        if self.temperature == 0 and self.top_p != 1:
            errors.append(f"top_p {self.top_p} has no effect at temperature 0, which is greedy")
        if self.temperature == 0 and self.top_k != 0:
            errors.append(f"top_k {self.top_k} has no effect at temperature 0, which is greedy")
        return errors

    @property
    def greedy(self) -> bool:
        return self.temperature == 0


class Sampler:
    """Draw tokens of one sequence; the same seed and logits give the same tokens."""

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self._random = np.random.Generator(np.random.PCG64(sampling.seed))

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return float64 probabilities [V] of float32 logits [V].

        Temperature comes first, then top_k, then top_p, as in transformers' generation: top_k
        keeps ties with the k-th logit; top_p keeps the smallest set of the most likely tokens whose
        probability reaches it.
        """
        sampling = self.sampling
        below = logits.astype(np.float64) - logits.max()
        with np.errstate(over="ignore"):  # a quotient beyond float64 is a chance of 0
            scaled = below / sampling.temperature
        if 0 < sampling.top_k < scaled.size:
            threshold = np.partition(scaled, -sampling.top_k)[-sampling.top_k]
            scaled = np.where(scaled < threshold, -np.inf, scaled)
        chances = softmax(scaled)
        if sampling.top_p < 1:
            order = np.argsort(-scaled, kind="stable")  # two logits may round to one chance
            before = np.cumsum(chances[order]) - chances[order]
            dropped = order[before >= sampling.top_p]
            chances[dropped] = 0
            chances /= chances.sum()
        return chances

    def choose(self, logits: np.ndarray) -> int:
        """Return the next token of float32 logits [V]."""
        if not np.isfinite(logits.max()):  # NaN, +inf, or -inf throughout
            raise ComposerError(logits_error())
        if self.sampling.greedy:
            return int(np.argmax(logits))
        cumulative = np.cumsum(self.probabilities(logits))
        return int(
            np.searchsorted(cumulative, self._random.random() * cumulative[-1], side="right")
        )


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return exp(logits), normalised to sum to 1."""
    powers: np.ndarray = np.exp(logits - logits.max())
    powers /= powers.sum()
    return powers


def logits_error() -> Problem:
    """Return the problem for logits that no token can be chosen from."""
    return Problem(
        "R512",
        "the decoder's logits are not numbers (NaN or infinite)",
        hint="float16 overflows where bfloat16 and float32 do not: try another precision, "
        "and look at the values that came in with --taps",
    )
