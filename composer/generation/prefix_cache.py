"""Keep the KV cache of the last sequence for the one that begins as it did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import takewhile
from threading import Lock
from typing import Any

import numpy as np

from composer.generation.decoder import CachedDecoder, Prompt, State


@dataclass(eq=False)
class Kept(State):
    """A state that knows what its cache has read: a digest of each row, and tokens after them.

    `tokens` is None while a step is under way, and stays so where it fails.
    """

    read: list[bytes] = field(default_factory=list)
    tokens: list[int] | None = field(default_factory=list)


class PrefixCache:
    """An `engine.Decoder` over another, which reads only what is new of a prompt.

    It holds the cache of one sequence, the last that came back. A prompt takes it away and goes on
    from it as far as both have the same rows, bit for bit, in all that the model is given, under
    the same adapters. Where the cache has read more than that it is trimmed, and given up if it
    cannot be: a sliding window has forgotten what it would have to show again.
    """

    def __init__(self, decoder: CachedDecoder) -> None:
        self.decoder = decoder
        self.held: Kept | None = None
        self._taking = Lock()  # not every backend has a thread of its own

    def prefill(self, prompt: Prompt) -> Kept:
        # Taken away first: no other sequence may go on from it meanwhile, nor any if this fails.
        with self._taking:
            held, self.held = self.held, None
        cache, count = None, 0
        read = digests(prompt.rows, self.decoder.bits)
        if held and held.adapters == prompt.adapters:
            cache, count = self._trimmed(held, read)
        del held
        rest = Prompt({name: rows[count:] for name, rows in prompt.rows.items()}, prompt.adapters)
        state = self.decoder.prefill(rest, cache)
        return Kept(state.cache, state.logits, state.adapters, read)

    def _trimmed(self, held: Kept, read: Sequence[bytes]) -> tuple[Any, int]:
        """Return a cache and how many of the rows it has read: all at most but the last."""
        had = held.read
        if held.tokens:
            had = had + digests(self.decoder.embed_tokens(held.tokens), self.decoder.bits)
        pairs = zip(had, read[:-1], strict=False)
        count = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        surplus = len(had) - count
        if not count or (surplus and not self.decoder.trim(held.cache, surplus)):
            return None, 0
        return held.cache, count

    def step(self, states: Sequence[Kept], tokens: Sequence[int]) -> None:
        before = [state.tokens for state in states]
        for state in states:
            state.tokens = None
        self.decoder.step(states, tokens)
        for state, read, token in zip(states, before, tokens, strict=True):
            if read is not None:
                read.append(token)
                state.tokens = read

    def greedy(self, states: Sequence[Kept]) -> list[int]:
        return self.decoder.greedy(states)

    def logits(self, state: Kept) -> np.ndarray:
        return self.decoder.logits(state)

    def retire(self, state: Kept) -> None:
        """Hold its cache, in place of any other."""
        if state.tokens is not None:
            state.logits = None
            self.held = state


def digests(rows: Mapping[str, Any], bits_of: Callable[[Any], np.ndarray]) -> list[bytes]:
    """Return a digest of each row: of its bits in every input of the model."""
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
