"""A request to continue a prompt, and its answer so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from composer.core.component import Token
from composer.generation.reasoning import ReasoningFilter, ReasoningIds
from composer.generation.sampler import Sampler, Sampling, log_probability
from composer.generation.stop import FinishReason, StopRules, StopTexts
from composer.generation.text import Detokenizer, Tokenizer


@dataclass(frozen=True)
class Request:
    """A prompt, in the form its decoder reads, and how to continue it.

    Ids between the marks of `reasoning` are generated but left out of the text, which ends before
    the first of `stop_text`. With `logprobs` the answer has each token's log-probability.
    """

    prompt: Any
    sampling: Sampling
    stop: StopRules
    reasoning: ReasoningIds | None = None
    stop_text: Sequence[str] = ()
    logprobs: bool = False


@dataclass(eq=False)
class AnswerState:
    """The state of one request: ids and text so far."""

    stop: StopRules
    sampler: Sampler
    stream: Detokenizer
    reasoning: ReasoningFilter
    end: StopTexts
    logprobs: list[float] | None = None
    ids: list[int] = field(default_factory=list)
    text: str = ""
    finish_reason: FinishReason | None = None
    _ends: list[tuple[int, int]] = field(default_factory=list)  # of ids and text, by token

    @classmethod
    def of(cls, request: Request, tokenizer: Tokenizer) -> AnswerState:
        """Return the answer to a request of which nothing is known yet."""
        return cls(
            request.stop,
            Sampler(request.sampling),
            Detokenizer(tokenizer),
            ReasoningFilter(request.reasoning),
            StopTexts(request.stop_text),
            [] if request.logprobs else None,
        )

    def add(self, token: int) -> Token:
        """Add one decoding step; the last one also returns pending text."""
        self.finish_reason = self.stop.after(token, len(self.ids) + 1)
        piece = ""
        if self.finish_reason != "stop":
            self.ids.append(token)
            if not self.reasoning.skips(token):
                piece = self.end.push(self.stream.push(token))
        if self.finish_reason and not self.end.reached:
            piece += self.end.push(self.stream.finish())
            piece += self.end.finish()
        if self.end.reached:
            self.finish_reason = "stop"
        self.text += piece
        self._ends.append((len(self.ids), len(self.text)))
        return Token(token, piece)

    @property
    def takes_argmax(self) -> bool:
        """Return whether the decoder may choose by itself, and keep its logits where they are."""
        return self.sampler.sampling.greedy and self.logprobs is None

    def choose(self, logits: np.ndarray) -> int:
        """Return the next token of float32 logits [V]."""
        token = self.sampler.choose(logits)
        if self.logprobs is not None:
            self.logprobs.append(log_probability(logits, token))
        return token

    def cancel(self, steps: int | None = None) -> None:
        """Stop here, or after as many steps; pending text is dropped."""
        self.finish_reason = "cancelled"
        if steps is not None:
            ids, text = self._ends[steps - 1] if steps else (0, 0)
            self.ids, self.text = self.ids[:ids], self.text[:text]

    def outputs(self) -> dict[str, Any]:
        """Return the text, ids [N] without the stop id, and the finish reason.

        `logprobs` [N] are the log-probabilities of the ids, and `text_ends` [N] the characters that
        the text has after each of them, the last with what was pending: both are empty where they
        were not asked for. A text that ended the answer leaves its ids in `ids`, since a token may
        hold more than it.
        """
        ends = []
        if self.logprobs is not None:
            ends = [text for _, text in self._ends[: len(self.ids)]]
        return {
            "text": self.text,
            "ids": np.array(self.ids, np.int64),
            "finish_reason": self.finish_reason,
            "logprobs": np.array((self.logprobs or [])[: len(self.ids)], np.float32),
            "text_ends": np.array(ends[:-1] + [len(self.text)] * bool(ends), np.int64),
        }
