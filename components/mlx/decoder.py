"""Run a model of mlx-lm as a decoder, with a KV cache for each sequence."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from itertools import groupby
from typing import Any, Protocol

import numpy as np

from composer.core.errors import ComposerError, Problem
from composer.generation.decoder import DecoderInput, SequenceState, run_to_end
from composer.generation.sampler import logits_error

from .batches import STEP, SequenceCache, batch_of, can_be_batched
from .mlx_lm_package import model_module

CHUNK = 2048


class AdapterSwitch(Protocol):
    """Switches a model's adapters."""

    def switch(self, names: tuple[str, ...]) -> None:
        """Switch exactly these adapters on."""


class MlxLmDecoder:
    """A `composer.generation.engine.Decoder`; a prompt is a `DecoderInput`.

    `rows` returns the same inputs for generated ids [N], so that the model never looks
    any of them up itself. Sequences with the same adapters are stepped together, unless
    `batches` is false or the model has caches of a kind that cannot be.
    """

    def __init__(
        self,
        model: Any,
        device: Any,
        rows: Callable[[Any], Mapping[str, Any]],
        adapters: AdapterSwitch | None = None,
        chunk: int = CHUNK,
        batches: bool = True,
    ) -> None:
        self.model = model
        self.device = device
        self.rows = rows
        self.adapters = adapters
        self.chunk = chunk
        self.batches = batches and can_be_batched(self._empty_caches())
        self.row_nbytes = 0

    def cache_nbytes(self, rows: Sequence[int]) -> int:
        """Return the bytes of sequences of so many rows; in a batch each has those of the longest.

        They are known once a first prompt was read.
        """
        if not self.batches:
            return self.row_nbytes * sum(rows)
        longest = max(rows, default=0)
        return self.row_nbytes * len(rows) * (longest + -longest % STEP)

    def call(self, cache: list[Any] | None, rows: Mapping[str, Any]) -> Any:
        """Run the model on a batch of rows by input; return logits [B, N, V]."""
        return self.model(None, cache=cache, **rows)

    def switch(self, names: tuple[str, ...]) -> None:
        """Switch exactly these adapters on, if the model has any."""
        if self.adapters is not None:
            self.adapters.switch(names)

    def prefill(self, prompt: DecoderInput, cache: SequenceCache | None = None) -> SequenceState:
        """Process all rows; they follow the contents of `cache`, if given."""
        return run_to_end(self.prefill_parts(prompt, cache))

    def prefill_parts(
        self, prompt: DecoderInput, cache: SequenceCache | None = None
    ) -> Generator[None, None, SequenceState]:
        """Process all rows but the last in chunks, then the last one, which alone needs the head.

        Another selection of adapters may be on between two of them.
        """
        rows = len(prompt)
        if rows == 0:
            raise ComposerError(Problem("R514", "there are no embeddings to continue"))
        cache = cache or SequenceCache(self._empty_caches())
        most = prompt.whole(rows - 1)
        for start, end in prompt.parts(0, most, self.chunk):
            self._read(prompt, start, end, cache)
            if end < most:
                yield
        return self._read_last(prompt, most, cache)

    def _empty_caches(self) -> list[Any]:
        caches: list[Any] = model_module("cache").make_prompt_cache(self.model)
        return caches

    def _read(self, prompt: DecoderInput, start: int, end: int, cache: SequenceCache) -> None:
        import mlx.core as mx

        with mx.stream(self.device):
            self.switch(prompt.adapters)
            self.call(cache.layers, prompt.part(start, end))
            mx.eval([each.state for each in cache.layers])
            mx.clear_cache()

    def _read_last(self, prompt: DecoderInput, start: int, cache: SequenceCache) -> SequenceState:
        import mlx.core as mx

        with mx.stream(self.device):
            self.switch(prompt.adapters)
            last = self.call(cache.layers, prompt.part(start, len(prompt)))
            state = SequenceState(cache, last[0, -1], prompt.adapters)
            mx.async_eval(state.logits)  # type: ignore[no-untyped-call]
        self.row_nbytes = self.row_nbytes or sum(map(_row_nbytes, cache.layers))
        return state

    def step(self, states: Sequence[SequenceState], tokens: Sequence[int]) -> None:
        """Append a token to each state; those with the same adapters are stepped together."""
        import mlx.core as mx

        if not states:
            return
        with mx.stream(self.device):
            order = sorted(range(len(states)), key=lambda place: states[place].adapters)
            for names, places in groupby(order, key=lambda place: states[place].adapters):
                self.switch(names)  # it may change the embeddings, too
                some = [*places]
                rows = self.embed_tokens([tokens[place] for place in some])
                self._step([states[place] for place in some], rows)
            mx.async_eval([state.logits for state in states])  # type: ignore[no-untyped-call]

    def _step(self, states: Sequence[SequenceState], rows: Mapping[str, Any]) -> None:
        """Append a row to each state, all of them at once if the model can."""
        if self.batches:
            batch = batch_of([state.cache for state in states])
            logits = self.call(batch.layers, {name: each[:, None] for name, each in rows.items()})
            batch.positions.advance()
            for state, row in zip(states, logits, strict=True):
                state.logits = row[-1]
            return
        prompt = DecoderInput(rows)
        for place, state in enumerate(states):
            state.logits = self.call(state.cache.layers, prompt.part(place, place + 1))[0, -1]

    def greedy(self, states: Sequence[SequenceState]) -> list[int]:
        import mlx.core as mx

        if not states:
            return []
        with mx.stream(self.device):
            rows = mx.stack([state.logits for state in states])
            best = mx.argmax(rows, axis=-1)
            largest = mx.max(rows, axis=-1)
            invalid = mx.any(mx.isnan(rows)) | ~mx.all(mx.isfinite(largest))
            zero = mx.any((largest == 0) & (mx.min(rows, axis=-1) == 0))
            mx.eval(best, invalid, zero)
            if invalid.item() or zero.item():
                raise ComposerError(logits_error(zero=not invalid.item()))
            tokens: Any = best.tolist()
        return list(tokens)

    def logits(self, state: SequenceState) -> np.ndarray:
        import mlx.core as mx

        with mx.stream(self.device):
            return np.array(state.logits.astype(mx.float32))

    def retire(self, state: SequenceState) -> None:
        """Take a state out of its batch, whose memory would stay with it."""
        import mlx.core as mx

        with mx.stream(self.device):
            state.cache.leave()

    def embed_tokens(self, tokens: Sequence[int]) -> Mapping[str, Any]:
        import mlx.core as mx

        with mx.stream(self.device):
            return self.rows(mx.array(list(tokens)))

    def bits(self, value: Any) -> np.ndarray:
        import mlx.core as mx

        with mx.stream(self.device):
            return np.array(value.reshape(value.shape[0], -1).view(mx.uint8))

    def trim(self, cache: SequenceCache, surplus: int) -> bool:
        """Drop rows, unless a sliding window no longer has the rows before them."""
        import mlx.core as mx

        module = model_module("cache")
        with mx.stream(self.device):
            layers = cache.layers
        if not module.can_trim_prompt_cache(layers):
            return False
        module.trim_prompt_cache(layers, surplus)
        return True

    def from_numpy(self, value: np.ndarray) -> Any:
        import mlx.core as mx

        return mx.array(value)


def _row_nbytes(cache: Any) -> int:
    """Return the bytes of a row of one layer's cache; some kinds have no rows."""
    keys = getattr(cache, "keys", None)
    return 0 if keys is None or isinstance(keys, tuple) else cache.nbytes // keys.shape[2]
