"""The prompt and the state of one sequence, and what a decoder with a cache offers."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np

Answer = TypeVar("Answer")
AHEAD = "ahead"  # the input that says how far behind each row the last one of its block is


@dataclass(frozen=True)
class DecoderInput:
    """The input that a sequence starts with.

    `rows` are the model's inputs by its keywords, each with the leading axis T: embeddings [T, D],
    and whatever else an architecture takes beside them. `adapters` are active while the sequence is
    read and continued. With `reuse_cache` the last sequence is continued as far as it is the same.
    """

    rows: Mapping[str, Any]
    adapters: tuple[str, ...] = ()
    reuse_cache: bool = False

    def __len__(self) -> int:
        return int(next(iter(self.rows.values())).shape[0])

    def parts(self, start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
        """Yield the parts that rows are read in: of a size, or longer, to the end of a block."""
        ends = self._block_ends()
        while start < end:
            stop = min(start + size, end)
            while ends is not None and ends[stop - 1] > stop:
                stop = int(ends[stop - 1])
            yield start, stop
            start = stop

    def whole(self, end: int) -> int:
        """Return how many of the first `end` rows can be read without those behind them."""
        ends = self._block_ends()
        while ends is not None and end and ends[end - 1] > end:
            end -= 1
        return end

    def _block_ends(self) -> np.ndarray | None:
        """Return how many rows there are up to the end of the blocks that begin up to each row.

        A block is a picture, or all audio of a prompt: its rows end at the same one.
        """
        if AHEAD not in self.rows:
            return None
        ahead = np.asarray(self.rows[AHEAD]).astype(np.int64)
        ends: np.ndarray = np.maximum.accumulate(np.arange(1, len(ahead) + 1) + ahead)
        return ends

    def part(self, start: int, end: int) -> dict[str, Any]:
        """Return the rows from start to end as a batch of one."""
        return {name: rows[None, start:end] for name, rows in self.rows.items()}


@dataclass(eq=False)
class SequenceState:
    """The cache of one sequence, the logits [V] that follow its last row, and its adapters."""

    cache: Any
    logits: Any
    adapters: tuple[str, ...] = field(default=())


class CachedDecoder(Protocol):
    """A `composer.generation.engine.Decoder` whose caches can be kept and trimmed."""

    def cache_nbytes(self, rows: Sequence[int]) -> int:
        """Return the bytes of sequences of so many rows, continued together.

        0 before that is known.
        """

    def prefill(self, prompt: DecoderInput, cache: Any = None) -> SequenceState:
        """Prefill a prompt after what `cache` already contains."""

    def prefill_parts(
        self, prompt: DecoderInput, cache: Any = None
    ) -> Generator[None, None, SequenceState]:
        """Do the same part by part."""

    def step(self, states: Sequence[SequenceState], tokens: Sequence[int]) -> None: ...

    def greedy(self, states: Sequence[SequenceState]) -> list[int]: ...

    def logits(self, state: SequenceState) -> np.ndarray: ...

    def retire(self, state: SequenceState) -> None:
        """Let a finished state, whose cache may be continued later, keep no other's memory."""

    def embed_tokens(self, tokens: Sequence[int]) -> Mapping[str, Any]:
        """Return the embedding rows of generated tokens, as in a prompt."""

    def bits(self, value: Any) -> np.ndarray:
        """Return the bits of each row of an input, uint8 [T, N]."""

    def trim(self, cache: Any, surplus: int) -> bool:
        """Drop the last rows of a cache; return whether that was possible."""

    def from_numpy(self, value: np.ndarray) -> Any:
        """Convert a NumPy array to the backend's."""


def run_to_end(steps: Generator[None, None, Answer]) -> Answer:
    """Run a generator to its end and return what it returns."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            answer: Answer = end.value
            return answer
