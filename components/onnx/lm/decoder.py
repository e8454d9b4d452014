"""Let a graph of ONNX Runtime continue what it is given, with a cache for each sequence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from composer.core.errors import ComposerError, Problem
from composer.core.placement import Placement
from composer.generation.decoder import Prompt, State
from composer.generation.sampler import logits_error

from ...models.decoder import ParsedDecoder
from ..lora import Adapters
from .cache import Angles, Cache
from .graph import DecoderGraphs
from .session import open_sessions

CHUNK = 512
MANY = 16  # rows from which on unpacked weights are faster than planes
EMBEDS = "embeds"


class OnnxDecoder:
    """A `composer.generation.engine.Decoder`; a prompt is a `Prompt` of its network's inputs.

    `rows` gives these for ids [N]. Sequences in flight are stepped one after another, so that each
    has the numbers that it has alone.
    """

    def __init__(
        self,
        found: ParsedDecoder,
        rows: Callable[[np.ndarray], Mapping[str, np.ndarray]],
        placement: Placement,
        adapters: Adapters | None = None,
        chunk: int = CHUNK,
    ) -> None:
        self.adapters = adapters or Adapters(found, {})
        graphs = DecoderGraphs(found, self.adapters)
        where = str(found.checkpoint.location)
        self.sessions = open_sessions(where, found.nbytes, graphs.build, placement)
        self.layers = graphs.caches
        self.vocabulary = found.checkpoint.table.rows
        self.rows = rows
        self.chunk = chunk
        self.angles = [Angles(rotary) for rotary in graphs.rotaries]

    def read(self, rows: Mapping[str, np.ndarray], cache: Cache, every: bool = False) -> np.ndarray:
        """Read rows by input, in chunks; return logits after the last [1, V] or each [T, V].

        Many rows are read by a session of their own, up to the last, which alone has logits.
        """
        count, begun = len(rows[EMBEDS]), 0
        if not every and len(self.sessions) > 1 and count > MANY:
            begun = count - 1
            for start in range(0, begun, self.chunk):
                cache.read_many(part(rows, start, min(start + self.chunk, begun)))
        logits = np.empty((count if every else 1, self.vocabulary), np.float32)
        for start in range(begun, count, self.chunk):
            end = min(start + self.chunk, count)
            chosen = np.arange(end - start) if every else np.array([end - start - 1])
            cache.read(part(rows, start, end), chosen, logits[start:end] if every else logits)
        return logits

    def begin(self, adapters: tuple[str, ...] = ()) -> Cache:
        """Return the cache of a sequence that has read nothing, with these adapters on."""
        inputs = self.adapters.inputs(adapters)
        return Cache(self.sessions, self.layers, self.angles, inputs)

    def prefill(self, prompt: Prompt, cache: Cache | None = None) -> State:
        """Read all rows, following what `cache` has read, where one is given."""
        if len(prompt) == 0:
            raise ComposerError(Problem("R514", "there are no embeddings to continue"))
        cache = self.begin() if cache is None else cache
        cache.use(self.adapters.inputs(prompt.adapters))
        return State(cache, self.read(prompt.rows, cache)[0], prompt.adapters)

    def step(self, states: Sequence[State], tokens: Sequence[int]) -> None:
        rows = self.embed_tokens(tokens)
        for place, state in enumerate(states):
            own = {name: each[place : place + 1] for name, each in rows.items()}
            state.logits = self.read(own, state.cache)[0]

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
        return self.rows(np.array(tokens, np.int64))

    def bits(self, value: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(value).view(np.uint8).reshape(len(value), -1)

    def trim(self, cache: Cache, surplus: int) -> bool:
        """Forget the last rows: they are written over."""
        cache.length -= surplus
        return True

    def from_numpy(self, value: np.ndarray) -> np.ndarray:
        return value


def part(rows: Mapping[str, np.ndarray], start: int, end: int) -> dict[str, np.ndarray]:
    """Return some of the rows of each input."""
    return {name: each[start:end] for name, each in rows.items()}
