"""Let a graph of ONNX Runtime continue what it is given, with a cache for each sequence."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from itertools import groupby

import numpy as np

from composer.core.errors import ComposerError, Problem
from composer.core.placement import Placement
from composer.generation.decoder import DecoderInput, SequenceState, run_to_end
from composer.generation.sampler import most_likely

from ...models.decoder import ParsedDecoder
from ..head import ALL, HIDDEN, REST, SCORES, WHOLE
from ..lora import OnnxAdapters
from .cache import CacheLayout, CacheStore, KvCache, RotaryTables
from .graph import DecoderGraphs
from .greedy import CoarseScores, ExactGreedyHead
from .prepared import open_decoder

CHUNK = 512
AT_ONCE = 64  # rows that all have logits
MANY = 8  # rows of a prompt that are read faster than in planes, see docs/decisions/019-planes.md
SLOTS = 16  # sequences that are read together
EMBEDS = "embeds"
Rows = Mapping[str, np.ndarray]


class OnnxDecoder:
    """A `composer.generation.decoder.CachedDecoder`; a prompt has its network's inputs.

    `rows` gives these for ids [N]. Sequences with the same adapters are stepped together: their
    rows are multiplied at once, and each attends to its own keys and values.
    """

    def __init__(
        self,
        found: ParsedDecoder,
        rows: Callable[[np.ndarray], Rows],
        placement: Placement,
        adapters: OnnxAdapters | None = None,
        chunk: int = CHUNK,
    ) -> None:
        self.adapters = adapters or OnnxAdapters(found, {})
        graphs = DecoderGraphs(found, self.adapters)
        where = str(found.checkpoint.location)
        self.sessions = open_decoder(where, found.nbytes, graphs, placement)
        self.vocabulary = found.checkpoint.table.rows
        self.rows = rows
        self.chunk = chunk
        self.many = MANY
        angles = [RotaryTables(rotary) for rotary in graphs.rotaries]
        self.layout = CacheLayout(self.sessions, graphs.caches, angles)
        self.row_nbytes = self.layout.row_nbytes
        self.shared: dict[tuple[str, ...], CacheStore] = {}
        self.coarse_head = graphs.coarse_head
        self.winner: ExactGreedyHead | None = None
        if graphs.head_rows:
            self.winner = ExactGreedyHead(found.head, graphs.head_rows)

    def read(self, rows: Rows, cache: KvCache, every: bool = False) -> np.ndarray:
        """Read rows by input, in chunks; return logits after the last [1, V] or each [T, V]."""
        if not every:
            return run_to_end(self._last(rows, cache, whole=True))["logits"]
        count, chunk = len(rows[EMBEDS]), min(self.chunk, AT_ONCE)
        logits = np.empty((count, self.vocabulary), np.float32)
        for start, end in DecoderInput(rows).parts(0, count, chunk):
            outputs = self._outputs(end - start, True) | {"logits": logits[start:end]}
            more = self._inputs(np.arange(end - start), True)
            cache.store.run(0, [cache], _slice_rows(rows, start, end), more, outputs)
        return logits

    def hidden(self, rows: Rows, cache: KvCache) -> np.ndarray:
        """Read rows into a fresh cache, in chunks; return each [T, D] as the head takes it."""
        made = np.empty(rows[EMBEDS].shape, np.float32)
        for start in range(0, len(made), AT_ONCE):
            some = _slice_rows(rows, start, start + AT_ONCE)
            more = self._inputs(np.arange(len(some[EMBEDS])), False)
            cache.store.run(0, [cache], some, more, {HIDDEN: made[start : start + AT_ONCE]})
        return made

    def _last(
        self, rows: Rows, cache: KvCache, whole: bool
    ) -> Generator[None, None, dict[str, np.ndarray]]:
        """Read rows in chunks, yield between them, and return the outputs of the last row.

        From `many` on they are read by a session of their own, up to the last one.
        """
        prompt, count, begun = DecoderInput(rows), len(rows[EMBEDS]), 0
        if len(self.sessions) > 1 and count >= self.many:
            begun = prompt.whole(count - 1)
            for start, end in prompt.parts(0, begun, self.chunk):
                cache.store.run(1, [cache], _slice_rows(rows, start, end), {}, {})
                yield
        outputs = self._outputs(1, whole)
        for start, end in prompt.parts(begun, count, self.chunk):
            more = self._inputs(np.array([end - start - 1]), whole)
            cache.store.run(0, [cache], _slice_rows(rows, start, end), more, outputs)
            if end < count:
                yield
        return outputs

    def _inputs(self, chosen: np.ndarray, whole: bool) -> dict[str, np.ndarray]:
        inputs = {"chosen": chosen}
        if self.winner:
            inputs[ALL] = np.array(whole)
        return inputs

    def _outputs(self, rows: int, whole: bool) -> dict[str, np.ndarray]:
        """Return memory for the outputs of so many chosen rows."""
        shapes = {"logits": (rows, self.vocabulary)}
        if self.winner and self.coarse_head:
            shapes[HIDDEN] = shapes[REST] = rows, self.winner.module.shape[1]
            shapes[SCORES] = self.coarse_head.products(rows, whole), self.vocabulary
            shapes["logits"] = shapes[WHOLE] = rows if whole else 0, self.vocabulary
        return {name: np.empty(shape, np.float32) for name, shape in shapes.items()}

    def _logits(
        self, outputs: Rows, row: int, inputs: Rows, whole: bool, asked: bool
    ) -> np.ndarray | CoarseScores:
        """Return what the head gave for one of the chosen rows, and the row itself."""
        if self.winner is None:
            logits: np.ndarray = outputs["logits"][row]
            return logits
        return CoarseScores(
            logits=outputs["logits"][row] if whole else None,
            products=outputs[WHOLE if whole else SCORES][row],
            hidden=outputs[HIDDEN][row],
            rest=outputs[REST][row],
            asked=asked,
            inputs={name: each.copy() for name, each in inputs.items()},
        )

    def cache_nbytes(self, rows: Sequence[int]) -> int:
        return self.row_nbytes * sum(rows)

    def begin(self, adapters: tuple[str, ...] = ()) -> KvCache:
        """Return the cache of a sequence that has read nothing, with these adapters on."""
        return KvCache(CacheStore(self.layout, 1, self.adapters.inputs(adapters)), 0)

    def prefill(self, prompt: DecoderInput, cache: KvCache | None = None) -> SequenceState:
        """Read all rows, following what `cache` has read, where one is given."""
        return run_to_end(self.prefill_parts(prompt, cache))

    def prefill_parts(
        self, prompt: DecoderInput, cache: KvCache | None = None
    ) -> Generator[None, None, SequenceState]:
        if len(prompt) == 0:
            raise ComposerError(Problem("R514", "there are no embeddings to continue"))
        cache = self.begin(prompt.adapters) if cache is None else cache
        state = SequenceState(cache, None, prompt.adapters)
        yield from self._advance(state, prompt.rows, whole=False)
        return state

    def _advance(self, state: SequenceState, rows: Rows, whole: bool) -> Generator[None]:
        """Read rows and keep what the head gives for the last."""
        outputs = yield from self._last(rows, state.cache, whole)
        count = len(rows[EMBEDS])
        state.logits = self._logits(outputs, 0, _slice_rows(rows, count - 1, count), whole, whole)

    def step(self, states: Sequence[SequenceState], tokens: Sequence[int]) -> None:
        rows = self.embed_tokens(tokens)
        order = sorted(range(len(states)), key=lambda place: states[place].adapters)
        for names, places in groupby(order, key=lambda place: states[place].adapters):
            together = [*places]
            for start in range(0, len(together), SLOTS):
                some = together[start : start + SLOTS]
                self._step([states[place] for place in some], names, _take_rows(rows, some))

    def _step(
        self,
        states: Sequence[SequenceState],
        names: tuple[str, ...],
        rows: Rows,
    ) -> None:
        """Append a row to each of some sequences; one that is alone stays where it is."""
        caches = [state.cache for state in states]
        store = caches[0].store
        if len(caches) > 1:
            if names not in self.shared:
                self.shared[names] = CacheStore(self.layout, SLOTS, self.adapters.inputs(names))
            store = self.shared[names]
            caches = store.arrange(caches)
        found = [caches.index(state.cache) for state in states]
        asked = [isinstance(state.logits, CoarseScores) and state.logits.asked for state in states]
        whole = any(asked)
        outputs = self._outputs(len(caches), whole)
        more = self._inputs(np.arange(len(caches)), whole)
        store.run(0, caches, _take_rows(rows, np.argsort(found).tolist()), more, outputs)
        for at, (state, place) in enumerate(zip(states, found, strict=True)):
            inputs = _slice_rows(rows, at, at + 1)
            state.logits = self._logits(outputs, place, inputs, whole, asked[at])

    def greedy(self, states: Sequence[SequenceState]) -> list[int]:
        return [self._greedy(state.logits) for state in states]

    def _greedy(self, found: np.ndarray | CoarseScores) -> int:
        largest = most_likely(found.products if isinstance(found, CoarseScores) else found)
        if isinstance(found, CoarseScores):
            assert self.winner
            return self.winner.find(found)
        return largest

    def logits(self, state: SequenceState) -> np.ndarray:
        """Return the logits; the last row is read again if it has coarse ones, and none after it.

        Who wants all logits once wants them for each token.
        """
        found: np.ndarray | CoarseScores = state.logits
        if not isinstance(found, CoarseScores):
            return found
        if found.logits is None:
            state.cache.length -= 1
            run_to_end(self._advance(state, found.inputs, whole=True))
            found = state.logits
        assert isinstance(found, CoarseScores)
        assert found.logits is not None
        return found.logits

    def retire(self, state: SequenceState) -> None:
        """Let the state go."""

    def embed_tokens(self, tokens: Sequence[int]) -> Rows:
        return self.rows(np.array(tokens, np.int64))

    def bits(self, value: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(value).view(np.uint8).reshape(len(value), -1)

    def trim(self, cache: KvCache, surplus: int) -> bool:
        """Forget the last rows: they are written over."""
        cache.length -= surplus
        return True

    def from_numpy(self, value: np.ndarray) -> np.ndarray:
        return value


def _slice_rows(rows: Rows, start: int, end: int) -> dict[str, np.ndarray]:
    """Return some of the rows of each input."""
    return {name: each[start:end] for name, each in rows.items()}


def _take_rows(rows: Rows, places: Sequence[int]) -> dict[str, np.ndarray]:
    """Return the rows at some places of each input."""
    return {name: each[places] for name, each in rows.items()}
