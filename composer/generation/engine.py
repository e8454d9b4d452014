"""Decode token by token, several sequences at a time, with no knowledge of any model."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from composer.core.component import Token
from composer.generation.reasoning import Marks, ReasoningFilter
from composer.generation.sampler import Sampler, Sampling
from composer.generation.stop import FinishReason, Stop
from composer.generation.text import TextStream, Tokenizer


class Decoder(Protocol):
    """A language model that continues sequences; what a state is, is its own affair.

    A state holds one sequence's cache and the logits that follow its last row. `step` may leave
    its work running: `greedy` and `logits` wait for it.
    """

    def prefill(self, prompt: Any) -> Any:
        """Read a prompt and return the state after it."""

    def step(self, states: Sequence[Any], tokens: Sequence[int]) -> None:
        """Append one token to each state, in place."""

    def greedy(self, states: Sequence[Any]) -> list[int]:
        """Return the likeliest next token of each state, found where the logits are."""

    def logits(self, state: Any) -> np.ndarray:
        """Return the logits that follow, float32 [V]."""

    def retire(self, state: Any) -> None:
        """Take back a state in good order; one that failed does not come back."""


@dataclass(frozen=True)
class Request:
    """A prompt, in whatever form its decoder reads, and how to continue it.

    What stands between the marks of `reasoning` is said, and is no text.
    """

    prompt: Any
    sampling: Sampling
    stop: Stop
    reasoning: Marks | None = None


@dataclass(eq=False)
class Answer:
    """What one request has come to so far."""

    stop: Stop
    sampler: Sampler
    stream: TextStream
    reasoning: ReasoningFilter
    ids: list[int] = field(default_factory=list)
    text: str = ""
    finish_reason: FinishReason | None = None

    def take(self, token: int) -> Token:
        """Add one decoding step; the last one brings what text was held back."""
        self.finish_reason = self.stop.after(token, len(self.ids) + 1)
        piece = ""
        if self.finish_reason != "stop":
            self.ids.append(token)
            if not self.reasoning.has(token):
                piece = self.stream.push(token)
        if self.finish_reason:
            piece += self.stream.finish()
        self.text += piece
        return Token(token, piece)

    def leave(self) -> None:
        """End it here; text that is still held back never comes."""
        self.finish_reason = "cancelled"

    def outputs(self) -> dict[str, Any]:
        """Return text, ids [N] without the one that stopped it, and why it ended."""
        ids = np.array(self.ids, np.int64)
        return {"text": self.text, "ids": ids, "finish_reason": self.finish_reason}


class Engine:
    """Continuous batching: requests are admitted and retired between steps of all the others."""

    def __init__(self, decoder: Decoder, tokenizer: Tokenizer) -> None:
        self._decoder = decoder
        self._tokenizer = tokenizer
        self._states: dict[Answer, Any] = {}

    @property
    def busy(self) -> bool:
        return bool(self._states)

    def admit(self, request: Request) -> Answer:
        """Prefill a request; `advance` then continues it with the others."""
        state = self._decoder.prefill(request.prompt)
        stream = TextStream(self._tokenizer)
        sampler = Sampler(request.sampling)
        answer = Answer(request.stop, sampler, stream, ReasoningFilter(request.reasoning))
        self._states[answer] = state
        return answer

    def retire(self, answer: Answer) -> None:
        """Forget a request, finished or given up, and give its state back."""
        if answer in self._states:
            self._decoder.retire(self._states.pop(answer))

    def advance(self) -> list[tuple[Answer, Token]]:
        """Take one token for every request in flight, and retire those that end with it.

        The next step is under way before the tokens are handed out, so that a device computes
        while its caller reads.
        """
        chosen = self._choose()
        steps = [(answer, answer.take(token)) for answer, token in chosen.items()]
        for answer in chosen:
            if answer.finish_reason:
                self.retire(answer)
        if self._states:
            going = list(self._states)
            tokens = [chosen[answer] for answer in going]
            self._decoder.step([self._states[answer] for answer in going], tokens)
        return steps

    def _choose(self) -> dict[Answer, int]:
        greedy = [answer for answer in self._states if answer.sampler.sampling.greedy]
        likeliest = iter(self._decoder.greedy([self._states[answer] for answer in greedy]))
        return {
            answer: next(likeliest)
            if answer.sampler.sampling.greedy
            else answer.sampler.choose(self._decoder.logits(state))
            for answer, state in self._states.items()
        }


def generate(
    decoder: Decoder, tokenizer: Tokenizer, request: Request
) -> Generator[Token, bool | None, dict[str, Any]]:
    """Continue one request; yield its tokens and return its outputs.

    The id that stops it is not yielded, unless text that was held back comes out with it. A reader
    who has read enough sends true, and the outputs are those of what was read.
    """
    engine = Engine(decoder, tokenizer)
    answer = engine.admit(request)
    try:
        while engine.busy:
            for _, token in engine.advance():
                enough: bool | None = False
                if answer.finish_reason != "stop" or token.text:
                    enough = yield token
                if enough and not answer.finish_reason:
                    answer.leave()
                    engine.retire(answer)
    except GeneratorExit:
        engine.retire(answer)
        raise
    return answer.outputs()
