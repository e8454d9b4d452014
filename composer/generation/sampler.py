"""Choose the next token from logits."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from composer.core.errors import ComposerError, Problem


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen; temperature 0 is greedy, and top_p, top_k and min_p have no effect.

    `top_k` 0 keeps every token, `top_p` 1 every probability. A temperature above 0, however small,
    samples, even if only among equally likely tokens. Penalties count generated tokens only: a
    prompt may be embeddings, which have no ids.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    no_repeat_ngram_size: int = 0

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
        if not 0 <= self.min_p <= 1:
            errors.append(f"min_p is {self.min_p}; it must be from 0, which keeps all, to 1")
        if not 0 < self.repetition_penalty < math.inf:
            what = f"repetition_penalty is {self.repetition_penalty}"
            errors.append(f"{what}; it must be above 0 and finite, and 1 changes nothing")
        for name in ("presence_penalty", "frequency_penalty"):
            if not -2 <= getattr(self, name) <= 2:
                errors.append(f"{name} is {getattr(self, name)}; it must be from -2 to 2")
        if self.no_repeat_ngram_size < 0:
            what = f"no_repeat_ngram_size is {self.no_repeat_ngram_size}"
            errors.append(f"{what}; it must be 0, which lets all repeat, or more")
        if self.temperature == 0 and self.min_p != 0:
            errors.append(f"min_p {self.min_p} has no effect at temperature 0, which is greedy")
        if self.temperature == 0 and self.top_k != 0:
            errors.append(f"top_k {self.top_k} has no effect at temperature 0, which is greedy")
        return errors

    @property
    def greedy(self) -> bool:
        """Return whether the token with the largest logit is taken, whatever came before."""
        return self.temperature == 0 and not self.penalizes

    @property
    def penalizes(self) -> bool:
        penalties = self.repetition_penalty, self.presence_penalty, self.frequency_penalty
        return penalties != (1, 0, 0) or self.no_repeat_ngram_size > 0


class Sampler:
    """Draw tokens of one sequence; the same seed and logits give the same tokens."""

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self._counts: dict[int, int] = {}
        self._ids: list[int] = []
        self._followers: dict[tuple[int, ...], list[int]] = {}
        self._random = np.random.Generator(np.random.PCG64(sampling.seed))

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Return float64 probabilities [V] of float32 logits [V].

        Temperature comes first, then top_k, top_p and min_p, as in transformers' generation: top_k
        keeps ties with the k-th logit; top_p keeps the smallest set of the most likely tokens whose
        probability reaches it; min_p keeps those that have this part of the largest.
        """
        sampling = self.sampling
        below = logits.astype(np.float64) - logits.max()
        with np.errstate(over="ignore"):  # a quotient beyond float64 is a chance of 0
            scaled = below / sampling.temperature
        if 0 < sampling.top_k < scaled.size:
            threshold = np.partition(scaled, -sampling.top_k)[-sampling.top_k]
            scaled = np.where(scaled < threshold, -np.inf, scaled)
        chances = _softmax(scaled)
        if sampling.top_p < 1:
            order = np.argsort(-scaled, kind="stable")  # two logits may round to one chance
            before = np.cumsum(chances[order]) - chances[order]
            dropped = order[before >= sampling.top_p]
            chances[dropped] = 0
        chances[chances < sampling.min_p * chances.max()] = 0
        chances /= chances.sum()
        return chances

    def penalized(self, logits: np.ndarray) -> np.ndarray:
        """Return logits [V] less what the tokens that were generated are penalized by.

        repetition_penalty is CTRL's (https://arxiv.org/abs/1909.05858): it divides a positive logit
        and multiplies a negative one. The other two are OpenAI's: each occurrence subtracts
        frequency_penalty, the first presence_penalty too. What would complete a run of
        no_repeat_ngram_size tokens that was there before is banned, as in transformers.
        """
        if not self._counts or not self.sampling.penalizes:
            return logits
        ids = np.array(list(self._counts))
        counts = np.array(list(self._counts.values()))
        found = logits.astype(np.float64)
        scores = found[ids]
        factor = self.sampling.repetition_penalty
        scores = np.where(scores > 0, scores / factor, scores * factor)
        scores -= self.sampling.presence_penalty + self.sampling.frequency_penalty * counts
        found[ids] = scores
        found[self._followers.get(self._before(), [])] = -np.inf
        return found

    def _before(self) -> tuple[int, ...]:
        """Return the last tokens, one fewer than a run that must not come twice."""
        size = self.sampling.no_repeat_ngram_size
        return tuple(self._ids[len(self._ids) - size + 1 :]) if size else ()

    def _remember(self, token: int) -> None:
        """Count a token, and what it follows."""
        self._counts[token] = self._counts.get(token, 0) + 1
        if self.sampling.no_repeat_ngram_size:
            if len(self._ids) >= self.sampling.no_repeat_ngram_size - 1:
                self._followers.setdefault(self._before(), []).append(token)
            self._ids.append(token)

    def choose(self, logits: np.ndarray) -> int:
        """Return the next token of float32 logits [V]."""
        if not np.isfinite(logits.max()):  # NaN, +inf, or -inf throughout
            raise ComposerError(logits_error())
        scores = self.penalized(logits)
        if not np.isfinite(scores.max()):
            message = "no token is left that no_repeat_ngram_size lets come"
            raise ComposerError(Problem("R510", message))
        if self.sampling.temperature == 0:
            token = int(np.argmax(scores))
        else:
            ends = np.cumsum(self.probabilities(scores))
            token = int(np.searchsorted(ends, self._random.random() * ends[-1], side="right"))
        self._remember(token)
        return token


def _softmax(logits: np.ndarray) -> np.ndarray:
    """Return exp(logits), normalised to sum to 1."""
    powers: np.ndarray = np.exp(logits - logits.max())
    powers /= powers.sum()
    return powers


def log_probability(logits: np.ndarray, token: int) -> float:
    """Return the natural logarithm of a token's probability by the model's own logits [V]."""
    below = logits.astype(np.float64) - logits.max()
    return float(below[token] - np.log(np.exp(below).sum()))


def most_likely(logits: np.ndarray) -> int:
    """Return the first of the largest logits; raise R512 where they are no numbers, or all 0."""
    largest = int(logits.argmax())  # a NaN is the largest for NumPy
    if not np.isfinite(logits[largest]):
        raise ComposerError(logits_error())
    if logits[largest] == 0 == logits.min():
        raise ComposerError(logits_error(zero=True))
    return largest


def logits_error(zero: bool = False) -> Problem:
    """Return the problem for logits that no token can be chosen from; those that are all `zero`."""
    if zero:
        return Problem(
            "R512",
            "the decoder's logits are all 0, so that no token is the likeliest",
            hint="weights are zeros, as in a download that was not finished, or numbers overflowed "
            "on the way: look at the values that came in with --taps",
        )
    return Problem(
        "R512",
        "the decoder's logits are not numbers (NaN or infinite)",
        hint="float16 overflows where bfloat16 and float32 do not: try another precision, "
        "and look at the values that came in with --taps",
    )
