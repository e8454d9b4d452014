"""Continue texts with a published decoder: one row after another of one text after another.

Its graph may be written for a batch, but texts of different lengths would have to be padded and
their caches copied for each step, so each text is a batch of 1.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence

import numpy as np

from composer.core.errors import ComposerError, Problem
from composer.generation.decoder import DecoderInput, SequenceState, run_to_end
from composer.generation.sampler import most_likely

from .ports import KEEP
from .session import PublishedSequence, PublishedSession

CHUNK = 512  # rows of a prompt that are read at once
FEW = 64  # where each of them has logits
Rows = Mapping[str, np.ndarray]


class GraphDecoder:
    """A `composer.generation.decoder.CachedDecoder`; a prompt has the graph's inputs by name.

    `rows` gives these for generated ids [N].
    """

    def __init__(
        self, session: PublishedSession, rows: Callable[[np.ndarray], Rows], chunk: int = CHUNK
    ) -> None:
        self.session = session
        self.rows = rows
        self.chunk = chunk if KEEP in session.ports.inputs else min(chunk, FEW)
        if session.ports.one_by_one:
            self.chunk = 1
        self.row_nbytes = session.ports.row_nbytes

    def cache_nbytes(self, rows: Sequence[int]) -> int:
        return self.row_nbytes * sum(rows)

    def begin(self) -> PublishedSequence:
        """Return a sequence that has read nothing."""
        return PublishedSequence(self.session)

    def prefill(
        self, prompt: DecoderInput, cache: PublishedSequence | None = None
    ) -> SequenceState:
        return run_to_end(self.prefill_parts(prompt, cache))

    def prefill_parts(
        self, prompt: DecoderInput, cache: PublishedSequence | None = None
    ) -> Generator[None, None, SequenceState]:
        if len(prompt) == 0:
            raise ComposerError(Problem("R514", "there is nothing to continue"))
        state = SequenceState(cache or self.begin(), None)
        whole = self.session.first and state.cache.length == 0
        for start, end in prompt.parts(0, len(prompt), len(prompt) if whole else self.chunk):
            if start:
                yield
            state.logits = self.session.read(state.cache, prompt.part(start, end), 1)[-1]
        return state

    def every(self, rows: Rows) -> np.ndarray:
        """Return the logits [T, V] after each row; a graph that gives the last reads one by one."""
        prompt = DecoderInput(rows)
        if self.session.first:
            return self._every_of_prefill(prompt)
        for size in (FEW, 1):
            sequence, found = self.begin(), list[np.ndarray]()
            for start, end in prompt.parts(0, len(prompt), size):
                found.append(self.session.read(sequence, prompt.part(start, end), end - start))
                if len(found[-1]) < end - start:
                    break
            else:
                break
        return np.concatenate(found)

    def _every_of_prefill(self, prompt: DecoderInput) -> np.ndarray:
        """Read the whole at once, or one beginning after another if it gives the last row alone."""
        count = len(prompt)
        found = self.session.read(self.begin(), prompt.part(0, count), count)
        if len(found) == count:
            return found
        ends = range(1, count)
        parts = [self.session.read(self.begin(), prompt.part(0, end), end) for end in ends]
        return np.concatenate([*parts, found])

    def step(self, states: Sequence[SequenceState], tokens: Sequence[int]) -> None:
        rows = DecoderInput(self.embed_tokens(tokens))
        for at, state in enumerate(states):
            state.logits = self.session.read(state.cache, rows.part(at, at + 1), 1)[-1]

    def greedy(self, states: Sequence[SequenceState]) -> list[int]:
        return [most_likely(state.logits) for state in states]

    def logits(self, state: SequenceState) -> np.ndarray:
        found: np.ndarray = state.logits
        return found

    def retire(self, state: SequenceState) -> None:
        """Let the state go."""

    def embed_tokens(self, tokens: Sequence[int]) -> Rows:
        return self.rows(np.array(tokens, np.int64))

    def bits(self, value: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(value).view(np.uint8).reshape(len(value), -1)

    def trim(self, cache: PublishedSequence, surplus: int) -> bool:
        """Forget the last rows: they are cut off by the next run."""
        cache.length -= surplus
        return True

    def from_numpy(self, value: np.ndarray) -> np.ndarray:
        return value
