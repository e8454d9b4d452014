"""Run a model of mlx-lm as a decoder, with a KV cache for each sequence."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from itertools import groupby
from typing import Any, Protocol

import numpy as np

from composer.core.errors import ComposerError, Problem
from composer.generation.decoder import DecoderInput, SequenceState, run_to_end
from composer.generation.sampler import logits_error

from .mlx_lm_package import model_module

CHUNK = 2048


class AdapterSwitch(Protocol):
    """Switches a model's adapters."""

    def switch(self, names: tuple[str, ...]) -> None:
        """Switch exactly these adapters on."""


class MlxLmDecoder:
    """A `composer.generation.engine.Decoder`; a prompt is a `DecoderInput`.

    `rows` returns the same inputs for generated ids [N], so that the model never looks
    any of them up itself.
    """

    def __init__(
        self,
        model: Any,
        device: Any,
        rows: Callable[[Any], Mapping[str, Any]],
        adapters: AdapterSwitch | None = None,
        chunk: int = CHUNK,
    ) -> None:
        self.model = model
        self.device = device
        self.rows = rows
        self.adapters = adapters
        self.chunk = chunk
        self.row_nbytes = 0

    def call(self, cache: list[Any] | None, rows: Mapping[str, Any]) -> Any:
        """Run the model on a batch of rows by input; return logits [1, N, V]."""
        return self.model(None, cache=cache, **rows)

    def switch(self, names: tuple[str, ...]) -> None:
        """Switch exactly these adapters on, if the model has any."""
        if self.adapters is not None:
            self.adapters.switch(names)

    def prefill(self, prompt: DecoderInput, cache: list[Any] | None = None) -> SequenceState:
        """Process all rows; they follow the contents of `cache`, if given."""
        return run_to_end(self.prefill_parts(prompt, cache))

    def prefill_parts(
        self, prompt: DecoderInput, cache: list[Any] | None = None
    ) -> Generator[None, None, SequenceState]:
        """Process all rows but the last in chunks, then the last one, which alone needs the head.

        Another selection of adapters may be on between two of them.
        """
        rows = len(prompt)
        if rows == 0:
            raise ComposerError(Problem("R514", "there are no embeddings to continue"))
        if cache is None:
            cache = model_module("cache").make_prompt_cache(self.model)
        most = prompt.whole(rows - 1)
        for start, end in prompt.parts(0, most, self.chunk):
            self._read(prompt, start, end, cache)
            if end < most:
                yield
        return self._read_last(prompt, most, cache)

    def _read(self, prompt: DecoderInput, start: int, end: int, cache: list[Any]) -> None:
        import mlx.core as mx

        with mx.stream(self.device):
            self.switch(prompt.adapters)
            self.call(cache, prompt.part(start, end))
            mx.eval([each.state for each in cache])
            mx.clear_cache()

    def _read_last(self, prompt: DecoderInput, start: int, cache: list[Any]) -> SequenceState:
        import mlx.core as mx

        with mx.stream(self.device):
            self.switch(prompt.adapters)
            last = self.call(cache, prompt.part(start, len(prompt)))
            state = SequenceState(cache, last[0, -1], prompt.adapters)
            mx.async_eval(state.logits)  # type: ignore[no-untyped-call]
        self.row_nbytes = self.row_nbytes or sum(map(_row_nbytes, cache))
        return state

    def step(self, states: Sequence[SequenceState], tokens: Sequence[int]) -> None:
        """Append a token to each state, grouped by adapters."""
        import mlx.core as mx

        if not states:
            return
        with mx.stream(self.device):
            order = sorted(range(len(states)), key=lambda place: states[place].adapters)
            for names, places in groupby(order, key=lambda place: states[place].adapters):
                self.switch(names)  # it may change the embeddings, too
                together = [*places]
                rows = DecoderInput(self.embed_tokens([tokens[place] for place in together]))
                for row, place in enumerate(together):
                    state, part = states[place], rows.part(row, row + 1)
                    state.logits = self.call(state.cache, part)[0, -1]
            mx.async_eval([state.logits for state in states])  # type: ignore[no-untyped-call]

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
        """Release the state."""

    def embed_tokens(self, tokens: Sequence[int]) -> Mapping[str, Any]:
        import mlx.core as mx

        with mx.stream(self.device):
            return self.rows(mx.array(list(tokens)))

    def bits(self, value: Any) -> np.ndarray:
        import mlx.core as mx

        with mx.stream(self.device):
            return np.array(value.reshape(value.shape[0], -1).view(mx.uint8))

    def trim(self, cache: list[Any], surplus: int) -> bool:
        """Drop rows, unless a sliding window no longer has the rows before them."""
        module = model_module("cache")
        if not module.can_trim_prompt_cache(cache):
            return False
        module.trim_prompt_cache(cache, surplus)
        return True

    def from_numpy(self, value: np.ndarray) -> Any:
        import mlx.core as mx

        return mx.array(value)


def _row_nbytes(cache: Any) -> int:
    """Return the bytes of a row of one layer's cache; some kinds have no rows."""
    keys = getattr(cache, "keys", None)
    return 0 if keys is None or isinstance(keys, tuple) else cache.nbytes // keys.shape[2]
