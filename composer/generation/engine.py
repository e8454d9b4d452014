"""Decode token by token, several sequences at a time, independent of any model."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from composer.core.component import Token
from composer.generation.reasoning import Marks, ReasoningFilter
from composer.generation.sampler import Sampler, Sampling, log_probability
from composer.generation.stop import FinishReason, Stop, TextStop
from composer.generation.text import TextStream, Tokenizer


class Decoder(Protocol):
    """A language model that continues sequences; its states are opaque to the engine.

    A state has one sequence's cache and the logits after its last row. `step` may leave
    its work running: `greedy` and `logits` wait for it.
    """

    def prefill(self, prompt: Any) -> Any:
        """Read a prompt and return the state after it."""

    def step(self, states: Sequence[Any], tokens: Sequence[int]) -> None:
        """Append one token to each state, in place."""

    def greedy(self, states: Sequence[Any]) -> list[int]:
        """Return the most likely next token of each state, computed on the logits' device."""

    def logits(self, state: Any) -> np.ndarray:
        """Return the logits that follow, float32 [V]."""

    def retire(self, state: Any) -> None:
        """Take back a finished state; a failed one is not returned."""


@dataclass(frozen=True)
class Request:
    """A prompt, in the form its decoder reads, and how to continue it.

    Ids between the marks of `reasoning` are generated but left out of the text, which ends before
    the first of `stop_text`. With `logprobs` the answer has each token's log-probability.
    """

    prompt: Any
    sampling: Sampling
    stop: Stop
    reasoning: Marks | None = None
    stop_text: Sequence[str] = ()
    logprobs: bool = False


@dataclass(eq=False)
class Answer:
    """The state of one request: ids and text so far."""

    stop: Stop
    sampler: Sampler
    stream: TextStream
    reasoning: ReasoningFilter
    end: TextStop
    logprobs: list[float] | None = None
    ids: list[int] = field(default_factory=list)
    text: str = ""
    finish_reason: FinishReason | None = None

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

    def cancel(self) -> None:
        """Stop here; pending text is dropped."""
        self.finish_reason = "cancelled"

    def outputs(self) -> dict[str, Any]:
        """Return the text, ids [N] without the stop id, and the finish reason.

        `logprobs` [N] is empty where it was not asked for. A text that ended the answer leaves its
        ids in `ids`, since a token may hold more than it.
        """
        return {
            "text": self.text,
            "ids": np.array(self.ids, np.int64),
            "finish_reason": self.finish_reason,
            "logprobs": np.array((self.logprobs or [])[: len(self.ids)], np.float32),
        }


class Engine:
    """Continuous batching: requests join and leave between steps of all the others."""

    def __init__(self, decoder: Decoder, tokenizer: Tokenizer) -> None:
        self._decoder = decoder
        self._tokenizer = tokenizer
        self._states: dict[Answer, Any] = {}

    @property
    def busy(self) -> bool:
        return bool(self._states)

    def add(self, request: Request) -> Answer:
        """Prefill a request; `advance` then continues it with the others."""
        state = self._decoder.prefill(request.prompt)
        stream = TextStream(self._tokenizer)
        sampler = Sampler(request.sampling)
        reasoning, end = ReasoningFilter(request.reasoning), TextStop(request.stop_text)
        logprobs: list[float] | None = [] if request.logprobs else None
        answer = Answer(request.stop, sampler, stream, reasoning, end, logprobs)
        self._states[answer] = state
        return answer

    def retire(self, answer: Answer) -> None:
        """Remove a finished or cancelled request and return its state to the decoder."""
        if answer in self._states:
            self._decoder.retire(self._states.pop(answer))

    def advance(self) -> list[tuple[Answer, Token]]:
        """Generate one token for every request in flight, and retire the finished ones.

        The next step starts before the tokens are returned, so that the device computes
        while the caller reads.
        """
        tokens_by_answer = self._choose()
        steps = [(answer, answer.add(token)) for answer, token in tokens_by_answer.items()]
        for answer in tokens_by_answer:
            if answer.finish_reason:
                self.retire(answer)
        if self._states:
            active = list(self._states)
            tokens = [tokens_by_answer[answer] for answer in active]
            self._decoder.step([self._states[answer] for answer in active], tokens)
        return steps

    def _choose(self) -> dict[Answer, int]:
        greedy = [answer for answer in self._states if answer.takes_argmax]
        argmax = iter(self._decoder.greedy([self._states[answer] for answer in greedy]))
        chosen = {}
        for answer, state in self._states.items():
            if answer.takes_argmax:
                chosen[answer] = next(argmax)
            else:
                chosen[answer] = answer.choose(self._decoder.logits(state))
        return chosen


def generate(
    decoder: Decoder, tokenizer: Tokenizer, request: Request
) -> Generator[Token, bool | None, dict[str, Any]]:
    """Continue one request; yield its tokens and return its outputs.

    The stop id is not yielded unless pending text comes with it. A reader who
    sends true cancels the request; the outputs are then those so far.
    """
    engine = Engine(decoder, tokenizer)
    answer = engine.add(request)
    try:
        while engine.busy:
            for _, token in engine.advance():
                stop_requested: bool | None = False
                if answer.finish_reason != "stop" or token.text:
                    stop_requested = yield token
                if stop_requested and not answer.finish_reason:
                    answer.cancel()
                    engine.retire(answer)
    except GeneratorExit:
        engine.retire(answer)
        raise
    return answer.outputs()
