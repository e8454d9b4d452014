"""Let a graph of ONNX Runtime continue what it is given, with a cache for each sequence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from composer.core.errors import ComposerError, Problem
from composer.core.placement import Placement
from composer.generation.decoder import Prompt, State
from composer.generation.sampler import logits_error

from ...models.decoder import ParsedDecoder
from .cache import Angles, Cache
from .graph import DecoderGraph
from .session import Session

CHUNK = 512
EMBEDS = "embeds"


class OnnxDecoder:
    """A `composer.generation.engine.Decoder`; a prompt is a `Prompt` of embeddings alone.

    `rows` gives the embeddings of ids [N]. Sequences in flight are stepped one after another, so
    that each has the numbers that it has alone.
    """

    def __init__(
        self,
        found: ParsedDecoder,
        rows: Callable[[np.ndarray], np.ndarray],
        placement: Placement,
        chunk: int = CHUNK,
    ) -> None:
        graph = DecoderGraph(found)
        where = str(found.checkpoint.location)
        self.session = Session(where, found.nbytes, graph.build, placement)
        self.layers = found.layers
        self.vocabulary = found.checkpoint.table.rows
        self.rows = rows
        self.chunk = chunk
        self.angles = [Angles(rotary) for rotary in graph.rotaries]

    def read(self, embeds: np.ndarray, cache: Cache, every: bool = False) -> np.ndarray:
        """Read rows in chunks; return logits after the last [1, V] or each [T, V]."""
        rows = len(embeds)
        logits = np.empty((rows if every else 1, self.vocabulary), np.float32)
        for start in range(0, rows, self.chunk):
            part = embeds[start : start + self.chunk]
            chosen = np.arange(len(part)) if every else np.array([len(part) - 1])
            given = logits[start : start + len(part)] if every else logits
            cache.run(part, chosen, given)
        return logits

    def begin(self) -> Cache:
        """Return the cache of a sequence that has read nothing."""
        return Cache(self.session, self.layers, self.angles)

    def prefill(self, prompt: Prompt, cache: Cache | None = None) -> State:
        """Read all rows, following what `cache` has read, where one is given."""
        if len(prompt) == 0:
            raise ComposerError(Problem("R514", "there are no embeddings to continue"))
        cache = self.begin() if cache is None else cache
        return State(cache, self.read(prompt.rows[EMBEDS], cache)[0], prompt.adapters)

    def step(self, states: Sequence[State], tokens: Sequence[int]) -> None:
        rows = self.embed_tokens(tokens)[EMBEDS]
        for state, row in zip(states, rows, strict=True):
            state.logits = self.read(row[None], state.cache)[0]

    def greedy(self, states: Sequence[State]) -> list[int]:
        found = [int(state.logits.argmax()) for state in states]
        # A NaN is the largest for NumPy.
        if not all(np.isfinite(s.logits[t]) for s, t in zip(states, found, strict=True)):
            raise ComposerError(logits_error())
        return found

    def logits(self, state: State) -> np.ndarray:
        logits: np.ndarray = state.logits
        return logits

    def retire(self, state: State) -> None:
        """Let the state go."""

    def embed_tokens(self, tokens: Sequence[int]) -> Mapping[str, np.ndarray]:
        return {EMBEDS: self.rows(np.array(tokens, np.int64))}

    def bits(self, value: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(value).view(np.uint8).reshape(len(value), -1)

    def trim(self, cache: Cache, surplus: int) -> bool:
        """Forget the last rows: they are written over."""
        cache.length -= surplus
        return True

    def from_numpy(self, value: np.ndarray) -> np.ndarray:
        return value
