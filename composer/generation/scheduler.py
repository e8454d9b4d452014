"""Continue many requests with one decoder at once, from any thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from threading import Condition
from typing import Any, Protocol

from composer.core.component import Token
from composer.core.errors import ComposerError, Problem
from composer.core.machine import memory_bytes
from composer.generation.answer import AnswerState, Request
from composer.generation.decoder import SequenceState
from composer.generation.engine import Decoder, Engine, call_or_error
from composer.generation.text import Tokenizer

MOST = 8  # requests that are continued at once
SHARE = 4  # of the machine's memory, what sequences may take by default


class ChunkedPrefillDecoder(Decoder, Protocol):
    """A decoder that reads a prompt part by part, and says what it remembers of a row."""

    def cache_nbytes(self, rows: Sequence[int]) -> int: ...

    def prefill_parts(self, prompt: Any) -> Generator[None, None, SequenceState]: ...


class SubmittedRequest:
    """A request that was submitted. All methods may be called from any thread."""

    def __init__(self, scheduler: Scheduler, request: Request, answer: AnswerState) -> None:
        self.request = request
        self.answer = answer
        self._scheduler = scheduler
        self.tokens: deque[Token] = deque()
        self.taken = 0
        self.failure: BaseException | None = None
        self.ended = False

    def next(self) -> Token | None:
        """Wait for the next token and return it, None at the end; raise what failed."""
        return self._scheduler.next(self)

    def cancel(self) -> None:
        """Stop it; the answer ends with the last token that was taken."""
        self._scheduler.cancel(self)

    def outputs(self) -> dict[str, Any]:
        """Return what was generated, once it has ended."""
        return self.answer.outputs()


class Scheduler:
    """Starts, continues and retires requests, in the order in which they came.

    There is no thread of its own. Whoever waits for a token does the work for all, one turn at a
    time, while others who wait sleep: it reads a part of one new prompt, and continues all that
    were read by one token. So nobody waits for more than a part of another's prompt, and each gets
    a token a turn.

    At most `most` are continued at once, and no more than `nbytes` are remembered of them: the
    others wait, and none overtakes another.
    """

    def __init__(
        self,
        decoder: ChunkedPrefillDecoder,
        tokenizer: Tokenizer,
        most: int = MOST,
        nbytes: int | None = None,
    ) -> None:
        self.decoder = decoder
        self.most = most
        self.nbytes = nbytes or _memory_share()
        self._tokenizer = tokenizer
        self._engine = Engine(decoder, tokenizer)
        self._turns = Condition()
        self._working = False
        self._waiting: deque[SubmittedRequest] = deque()
        self._reading: tuple[SubmittedRequest, Generator[None, None, SequenceState]] | None = None
        self._tickets: dict[AnswerState, SubmittedRequest] = {}  # of those that are started

    def submit(self, request: Request) -> SubmittedRequest:
        """Queue a request; raise ComposerError for one that there is no memory for."""
        needed = self.decoder.cache_nbytes([_row_count(request)])
        if needed > self.nbytes:
            message = (
                f"{len(request.prompt)} positions and {request.stop.max_tokens} tokens after them "
                f"need {needed / 1e9:.3g} GB, and sequences may take {self.nbytes / 1e9:.3g}"
            )
            hint = "lower max_tokens, shorten the input, or raise it: --place cache_gb=GB"
            raise ComposerError(Problem("R567", message, hint=hint))
        ticket = SubmittedRequest(self, request, AnswerState.of(request, self._tokenizer))
        with self._turns:
            self._waiting.append(ticket)
        return ticket

    def generate(self, request: Request) -> Generator[Token, bool | None, dict[str, Any]]:
        """Continue a request; yield its tokens and return its outputs.

        A reader who sends true cancels it; the outputs are then those so far.
        """
        ticket = self.submit(request)
        try:
            while (token := ticket.next()) is not None:
                if (yield token):
                    ticket.cancel()
        finally:
            ticket.cancel()
        return ticket.outputs()

    def next(self, ticket: SubmittedRequest) -> Token | None:
        """Return a ticket's next token, doing a turn for all where nobody else does."""
        while True:
            with self._turns:
                while not (ticket.tokens or ticket.ended) and self._working:
                    self._turns.wait()
                if ticket.tokens:
                    ticket.taken += 1
                    return ticket.tokens.popleft()
                if ticket.failure:
                    raise ticket.failure
                if ticket.ended:
                    return None
                self._working = True
            try:
                self._turn()
            except BaseException:
                self._give_up()
                raise
            finally:
                with self._turns:
                    self._working = False
                    self._turns.notify_all()

    def cancel(self, ticket: SubmittedRequest) -> None:
        """Stop a request; one that has ended, and was read to its end, stays as it is."""
        with self._turns:
            if ticket.ended and not ticket.tokens:
                return
            ticket.ended = True
            ticket.tokens.clear()
            if not self._working:
                self._let_go()
            ticket.answer.cancel(ticket.taken)

    def _turn(self) -> None:
        with self._turns:
            self._let_go()
            self._start_waiting()
        self._read()
        outcomes = self._engine.advance()
        with self._turns:
            for answer, outcome in outcomes:
                ticket = self._tickets[answer]
                if ticket.ended:
                    continue
                if isinstance(outcome, BaseException):
                    self._end(ticket, outcome)
                    continue
                if answer.finish_reason != "stop" or outcome.text:
                    ticket.tokens.append(outcome)
                if answer.finish_reason:
                    self._end(ticket)

    def _let_go(self) -> None:
        """Forget the requests that were cancelled."""
        self._waiting = deque(ticket for ticket in self._waiting if not ticket.ended)
        if self._reading and self._reading[0].ended:
            self._reading = None
        for answer, ticket in [*self._tickets.items()]:
            if ticket.ended:
                self._engine.retire(answer)
                del self._tickets[answer]

    def _start_waiting(self) -> None:
        """Begin to read the next prompt, if there is room for it."""
        if self._reading or not self._waiting or len(self._tickets) >= self.most:
            return
        together = [*self._tickets.values(), self._waiting[0]]
        rows = [_row_count(ticket.request) for ticket in together]
        if self.decoder.cache_nbytes(rows) <= self.nbytes:
            ticket = self._waiting.popleft()
            self._reading = ticket, self.decoder.prefill_parts(ticket.request.prompt)

    def _read(self) -> None:
        """Read a part of a prompt; one that is read is continued from now on."""
        if self._reading is None:
            return
        ticket, parts = self._reading
        state = call_or_error(_next_part, parts)
        if state is None:
            return
        self._reading = None
        if isinstance(state, BaseException):
            with self._turns:
                self._end(ticket, state)
            return
        self._tickets[ticket.answer] = ticket
        self._engine.start(ticket.answer, state)

    def _end(self, ticket: SubmittedRequest, failure: BaseException | None = None) -> None:
        ticket.failure, ticket.ended = failure, True
        self._tickets.pop(ticket.answer, None)

    def _give_up(self) -> None:
        """End all that was begun: a turn was interrupted, and nobody knows where."""
        with self._turns:
            begun = [*self._tickets.values(), *([self._reading[0]] if self._reading else [])]
            for ticket in begun:
                problem = Problem("R568", "the decoder was interrupted by another run")
                self._end(ticket, ComposerError(problem))
            self._reading = None
            self._engine.drop_all()


def _row_count(request: Request) -> int:
    """Return how many rows a request may have in the end."""
    return len(request.prompt) + request.stop.max_tokens


def _memory_share() -> int:
    """Return the bytes that sequences may take on this machine."""
    return memory_bytes() // SHARE


def _next_part(parts: Generator[None, None, SequenceState]) -> SequenceState | None:
    try:
        next(parts)
    except StopIteration as end:
        state: SequenceState = end.value
        return state
    return None
