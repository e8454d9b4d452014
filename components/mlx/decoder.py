"""Let a model of mlx-lm continue embeddings, with a KV cache for each sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from composer.decode.sampler import not_a_number
from composer.errors import ComposerError, Problem

CHUNK = 2048


@dataclass(eq=False)
class State:
    """The cache of one sequence and the logits [V] that follow its last row."""

    cache: list[Any]
    logits: Any


class MlxDecoder:
    """A `composer.decode.engine.Decoder`; a prompt is embeddings [T, D] as the model takes them."""

    def __init__(self, model: Any, device: Any, chunk: int = CHUNK) -> None:
        self.model = model
        self.device = device
        self.chunk = chunk

    def prefill(self, prompt: Any) -> State:
        """Read all rows but the last in chunks, then the last one, which alone needs the head."""
        import mlx.core as mx
        from mlx_lm.models.cache import make_prompt_cache

        rows = prompt.shape[0]
        if rows == 0:
            raise ComposerError(Problem("R514", "there are no embeddings to continue"))
        with mx.stream(self.device):
            cache = make_prompt_cache(self.model)
            for start in range(0, rows - 1, self.chunk):
                part = prompt[start : min(start + self.chunk, rows - 1)]
                self.model(None, cache=cache, input_embeddings=part[None])
                mx.eval([each.state for each in cache])
                mx.clear_cache()
            last = self.model(None, cache=cache, input_embeddings=prompt[rows - 1 :][None])
            state = State(cache, last[0, -1])
            mx.async_eval(state.logits)  # type: ignore[no-untyped-call]
        return state

    def step(self, states: Sequence[State], tokens: Sequence[int]) -> None:
        import mlx.core as mx

        with mx.stream(self.device):
            for state, token in zip(states, tokens, strict=True):
                state.logits = self.model(mx.array([[token]]), cache=state.cache)[0, -1]
            mx.async_eval([state.logits for state in states])  # type: ignore[no-untyped-call]

    def greedy(self, states: Sequence[State]) -> list[int]:
        import mlx.core as mx

        if not states:
            return []
        with mx.stream(self.device):
            rows = mx.stack([state.logits for state in states])
            likeliest = mx.argmax(rows, axis=-1)
            broken = mx.any(mx.isnan(rows)) | ~mx.all(mx.isfinite(mx.max(rows, axis=-1)))
            mx.eval(likeliest, broken)
            if broken.item():
                raise ComposerError(not_a_number())
            tokens: Any = likeliest.tolist()
        return list(tokens)

    def logits(self, state: State) -> np.ndarray:
        import mlx.core as mx

        with mx.stream(self.device):
            return np.array(state.logits.astype(mx.float32))
