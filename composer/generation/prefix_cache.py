"""Reuse the KV cache of the last sequence for a prompt with the same prefix."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import takewhile
from typing import Any

import numpy as np

from composer.generation.decoder import CachedDecoder, DecoderInput, SequenceState, run_to_end


@dataclass(eq=False)
class CachedState(SequenceState):
    """A state with the contents of its cache: a digest of each row, and the tokens after them.

    `tokens` is None during a step, and stays None if the step fails.
    """

    digests_read: list[bytes] = field(default_factory=list)
    tokens: list[int] | None = field(default_factory=list)


class PrefixCache:
    """A decoder that wraps another and prefills only the new rows of a prompt that reuses a cache.

    It stores the cache of one sequence, the last that was retired. A prompt takes it and continues
    it as far as both have the same rows, bit for bit, in every input of the model, under
    the same adapters. A longer cache is trimmed, or dropped if it
    cannot be: a sliding window no longer has the rows that it would need.
    """

    def __init__(self, decoder: CachedDecoder) -> None:
        self.decoder = decoder
        self.stored: CachedState | None = None

    def cache_nbytes(self, rows: Sequence[int]) -> int:
        """Return the bytes of sequences of so many rows, continued together."""
        return self.decoder.cache_nbytes(rows)

    def prefill(self, prompt: DecoderInput) -> SequenceState:
        return run_to_end(self.prefill_parts(prompt))

    def prefill_parts(self, prompt: DecoderInput) -> Generator[None, None, SequenceState]:
        if not prompt.reuse_cache:
            return (yield from self.decoder.prefill_parts(prompt))
        # Taken away first: no other sequence may go on from it meanwhile, nor any if this fails.
        stored, self.stored = self.stored, None
        cache, count = None, 0
        digests_read = row_digests(prompt.rows, self.decoder.bits)
        if stored and stored.adapters == prompt.adapters:
            cache, count = self._trimmed(stored, digests_read, prompt)
        del stored
        remaining = DecoderInput(
            {name: rows[count:] for name, rows in prompt.rows.items()}, prompt.adapters
        )
        state = yield from self.decoder.prefill_parts(remaining, cache)
        return CachedState(state.cache, state.logits, state.adapters, digests_read)

    def _trimmed(
        self, stored: CachedState, digests_read: Sequence[bytes], prompt: DecoderInput
    ) -> tuple[Any, int]:
        """Return a cache and how many rows it shares with the prompt: at most all but the last.

        A picture or audio that differs anywhere is read again from its first row.
        """
        cached_rows = stored.digests_read
        if stored.tokens:
            cached_rows = cached_rows + row_digests(
                self.decoder.embed_tokens(stored.tokens), self.decoder.bits
            )
        pairs = zip(cached_rows, digests_read[:-1], strict=False)
        count = prompt.whole(sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)))
        surplus = len(cached_rows) - count
        if not count or (surplus and not self.decoder.trim(stored.cache, surplus)):
            return None, 0
        return stored.cache, count

    def step(self, states: Sequence[SequenceState], tokens: Sequence[int]) -> None:
        kept = [
            (state, state.tokens, token)
            for state, token in zip(states, tokens, strict=True)
            if isinstance(state, CachedState)
        ]
        for state, _, _ in kept:
            state.tokens = None
        self.decoder.step(states, tokens)
        for state, earlier, token in kept:
            if earlier is not None:
                earlier.append(token)
                state.tokens = earlier

    def greedy(self, states: Sequence[SequenceState]) -> list[int]:
        return self.decoder.greedy(states)

    def logits(self, state: SequenceState) -> np.ndarray:
        return self.decoder.logits(state)

    def retire(self, state: SequenceState) -> None:
        """Store the cache of one that may be reused, in place of any other."""
        if isinstance(state, CachedState) and state.tokens is not None:
            state.logits = None
            self.decoder.retire(state)
            self.stored = state


def row_digests(rows: Mapping[str, Any], bits_of: Callable[[Any], np.ndarray]) -> list[bytes]:
    """Return a digest of each row: the bits of that row in every input of the model."""
    blank = blake2b(digest_size=16)
    parts: list[Any] = []
    for name, value in sorted(rows.items()):
        blank.update(f"{name} {value.dtype} {value.shape[1:]};".encode())
        parts.append(bits_of(value) if value.shape[0] else [])
    found = []
    for bits in zip(*parts, strict=True):
        digest = blank.copy()
        for each in bits:
            digest.update(each)
        found.append(digest.digest())
    return found
