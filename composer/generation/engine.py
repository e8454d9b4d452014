"""Decode token by token, several sequences at a time, independent of any model."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, Protocol

import numpy as np

from composer.core.component import Token
from composer.core.native_failures import is_failure
from composer.generation.answer import AnswerState, Request
from composer.generation.text import Tokenizer


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


Outcome = Token | BaseException


class Engine:
    """Continuous batching: requests join and leave between steps of all the others.

    What fails for one of them is its outcome, and touches no other.
    """

    def __init__(self, decoder: Decoder, tokenizer: Tokenizer) -> None:
        self._decoder = decoder
        self._tokenizer = tokenizer
        self._states: dict[AnswerState, Any] = {}

    @property
    def busy(self) -> bool:
        return bool(self._states)

    def add(self, request: Request) -> AnswerState:
        """Prefill a request; `advance` then continues it with the others."""
        answer = AnswerState.of(request, self._tokenizer)
        self.start(answer, self._decoder.prefill(request.prompt))
        return answer

    def start(self, answer: AnswerState, state: Any) -> None:
        """Take an answer whose prompt was read; `advance` then continues it with the others."""
        self._states[answer] = state

    def retire(self, answer: AnswerState) -> None:
        """Remove a finished or cancelled request and return its state to the decoder."""
        if answer in self._states:
            self._decoder.retire(self._states.pop(answer))

    def advance(self) -> list[tuple[AnswerState, Outcome]]:
        """Generate one token for every request in flight, and retire the finished ones.

        A request that fails is dropped, and its state with it. The next step starts before the
        tokens are returned, so that the device computes while the caller reads.
        """
        chosen = self._choose()
        outcomes: list[tuple[AnswerState, Outcome]] = []
        for answer, token in chosen.items():
            outcome = (
                token if isinstance(token, BaseException) else call_or_error(answer.add, token)
            )
            outcomes.append((answer, outcome))
            if isinstance(outcome, BaseException):
                del self._states[answer]
            elif answer.finish_reason:
                self.retire(answer)
        if self._states:
            states, tokens = [*self._states.values()], [chosen[each] for each in self._states]
            failure = call_or_error(self._decoder.step, states, tokens)
            if failure is not None:  # of all that were stepped
                outcomes += [(answer, failure) for answer in self._states]
                self._states.clear()
        return outcomes

    def drop_all(self) -> None:
        """Forget all requests and their states."""
        self._states.clear()

    def _choose(self) -> dict[AnswerState, Any]:
        """Return the next token of each answer, or why there is none."""
        greedy = [answer for answer in self._states if answer.takes_argmax]
        argmax = self._argmax(greedy)
        chosen = {}
        for answer, state in self._states.items():
            if answer.takes_argmax:
                chosen[answer] = argmax[answer]
            else:
                chosen[answer] = call_or_error(self._sample, answer, state)
        return chosen

    def _sample(self, answer: AnswerState, state: Any) -> int:
        return answer.choose(self._decoder.logits(state))

    def _argmax(self, answers: Sequence[AnswerState]) -> dict[AnswerState, Any]:
        """Choose for all at once, or one by one where that fails."""
        tokens = call_or_error(self._decoder.greedy, [self._states[answer] for answer in answers])
        if isinstance(tokens, BaseException):
            tokens = []
            for answer in answers:
                found = call_or_error(self._decoder.greedy, [self._states[answer]])
                tokens.append(found if isinstance(found, BaseException) else found[0])
        return dict(zip(answers, tokens, strict=True))


def call_or_error(function: Callable[..., Any], *given: Any) -> Any:
    """Return what a function returns, or its failure."""
    try:
        return function(*given)
    except BaseException as error:
        if not is_failure(error):
            raise
        return error


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
                if isinstance(token, BaseException):
                    raise token
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
