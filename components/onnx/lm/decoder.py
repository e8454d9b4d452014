"""Let a graph of ONNX Runtime continue what it is given, with a cache for each sequence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from composer.core.errors import ComposerError, Problem
from composer.core.placement import Placement
from composer.generation.decoder import Prompt, State
from composer.generation.sampler import logits_error

from ...models.decoder import ParsedDecoder
from ..head import ALL, HIDDEN, REST, SCORES
from ..lora import Adapters
from .cache import Angles, Cache
from .graph import DecoderGraphs
from .greedy import Scores, Winner
from .session import open_sessions

CHUNK = 512
MANY = 16  # rows from which on unpacked weights are faster than planes
AT_ONCE = 64  # rows that all have logits
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
        self.winner: Winner | None = None
        if graphs.head_rows:
            self.winner = Winner(found.head, graphs.head_rows)

    def read(self, rows: Mapping[str, np.ndarray], cache: Cache, every: bool = False) -> np.ndarray:
        """Read rows by input, in chunks; return logits after the last [1, V] or each [T, V]."""
        if not every:
            return self._last(rows, cache, whole=True)["logits"]
        count, chunk = len(rows[EMBEDS]), self.chunk
        logits = np.empty((count, self.vocabulary), np.float32)
        for start in range(0, count, min(chunk, AT_ONCE)):
            end = min(start + min(chunk, AT_ONCE), count)
            outputs = self._outputs(end - start) | {"logits": logits[start:end]}
            cache.read(part(rows, start, end), self._inputs(np.arange(end - start), True), outputs)
        return logits

    def _last(
        self, rows: Mapping[str, np.ndarray], cache: Cache, whole: bool
    ) -> dict[str, np.ndarray]:
        """Read rows in chunks, and return the outputs of the last.

        Many are read by a session of their own, up to the last one.
        """
        count, begun = len(rows[EMBEDS]), 0
        if len(self.sessions) > 1 and count > MANY:
            begun = count - 1
            for start in range(0, begun, self.chunk):
                cache.read_many(part(rows, start, min(start + self.chunk, begun)))
        outputs = self._outputs(1)
        for start in range(begun, count, self.chunk):
            end = min(start + self.chunk, count)
            inputs = self._inputs(np.array([end - start - 1]), whole)
            cache.read(part(rows, start, end), inputs, outputs)
        return outputs

    def _inputs(self, chosen: np.ndarray, whole: bool) -> dict[str, np.ndarray]:
        inputs = {"chosen": chosen}
        if self.winner:
            inputs[ALL] = np.array(whole)
        return inputs

    def _outputs(self, rows: int) -> dict[str, np.ndarray]:
        """Return memory for the outputs of so many chosen rows."""
        widths = {"logits": self.vocabulary}
        if self.winner:
            width = self.winner.module.shape[1]
            widths |= {SCORES: self.vocabulary, HIDDEN: width, REST: width}
        return {name: np.empty((rows, width), np.float32) for name, width in widths.items()}

    def _advance(self, state: State, rows: Mapping[str, np.ndarray], whole: bool) -> None:
        """Read rows and keep what the head gives for the last."""
        found = {name: each[0] for name, each in self._last(rows, state.cache, whole).items()}
        if self.winner:
            last = {name: each[-1:].copy() for name, each in rows.items()}
            parts = (found["logits"], found[SCORES], found[HIDDEN], found[REST])
            state.logits = Scores(*parts, whole, last)
        else:
            state.logits = found["logits"]

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
        state = State(cache, None, prompt.adapters)
        self._advance(state, prompt.rows, whole=False)
        return state

    def step(self, states: Sequence[State], tokens: Sequence[int]) -> None:
        rows = self.embed_tokens(tokens)
        for place, state in enumerate(states):
            whole = isinstance(state.logits, Scores) and state.logits.whole
            self._advance(state, part(rows, place, place + 1), whole)

    def greedy(self, states: Sequence[State]) -> list[int]:
        return [self._greedy(state.logits) for state in states]

    def _greedy(self, found: np.ndarray | Scores) -> int:
        # A NaN is the largest for NumPy.
        scores = found.products if isinstance(found, Scores) else found
        largest = int(scores.argmax())
        if not np.isfinite(scores[largest]):
            raise ComposerError(logits_error())
        if isinstance(found, Scores):
            assert self.winner
            return self.winner.find(found)
        return largest

    def logits(self, state: State) -> np.ndarray:
        """Return the logits; the last row is read again if it has coarse ones, and none after it.

        Who wants all logits once wants them for each token.
        """
        if isinstance(state.logits, Scores) and not state.logits.whole:
            state.cache.length -= 1
            self._advance(state, state.logits.inputs, whole=True)
        found = state.logits
        logits: np.ndarray = found.logits if isinstance(found, Scores) else found
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
