"""Run a published decoder on one sequence at a time, which it remembers."""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from composer.core.backend import LONG

from ..graph_config import OnnxGraphConfig
from ..graph_contract import ContractTensor, GraphContract
from ..sequences import IsolatedSequences, LocalSequences
from ..session import Session
from .ports import AXES, BRANCH, KEEP, MASK, POSITIONS, DecoderPorts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from composer.core.placement import Placement
    from composer.formats import OnnxSignature, OnnxValue


class PublishedSequence:
    """What a session remembers: `length` rows of a text, under a number."""

    def __init__(self, session: PublishedSession) -> None:
        self.session = session
        self.number = next(session.numbers)
        self.length = 0
        self.handed: dict[str, np.ndarray] = {}  # the cache that another graph made

    def __del__(self) -> None:
        self.session.graph.forget(self.number)


class PublishedSession(Session):
    """A loaded decoder; `ports` say what its inputs are for.

    Where there are two graphs, `first` reads prompts; its keys and values become arrays on their
    way to the other one, which keeps what it makes of them.
    """

    def __init__(
        self,
        signature: OnnxSignature,
        ports: DecoderPorts,
        placement: Placement,
        first: PrefillSession | None = None,
    ) -> None:
        self.ports, self.first = ports, first
        self.numbers = count(1)
        caches = [(each.past.name, each.present) for each in ports.caches]
        self.isolated = partial(IsolatedSequences, caches=caches)
        self.local = partial(LocalSequences, caches=caches)
        path = signature.file.path
        assert path is not None
        super().__init__(path, contract_of(signature), placement, signature.nbytes)

    def read(
        self, sequence: PublishedSequence, rows: Mapping[str, np.ndarray], keep: int
    ) -> np.ndarray:
        """Append rows [1, T, ...] by input; return logits float32 [N, V] of the last ones.

        N is `keep` where the graph can be asked for that, and otherwise what it gives.
        """
        if self.first and sequence.length == 0:
            made = self.first.run(feeds_of(self.first.ports, 0, rows, keep))
            found = made[self.first.ports.logits.name]
            names = {each.key: each.past.name for each in self.ports.caches}
            sequence.handed = {}
            for each in self.first.ports.presents:
                sequence.handed[names[each.key]] = made[each.value.name]
        else:
            found = self._advance(sequence, rows, keep)
            sequence.handed = {}
        sequence.length += _count(rows)
        return found.reshape(-1, found.shape[-1]).astype(np.float32, copy=False)

    def _advance(
        self, sequence: PublishedSequence, rows: Mapping[str, np.ndarray], keep: int
    ) -> np.ndarray:
        feeds, logits = self._feeds(sequence.length, rows, keep), self.ports.logits.name
        for name, value in sequence.handed.items():
            feeds[name] = np.ascontiguousarray(value[:, :, : sequence.length])
        words = {"sequence": sequence.number, "rows": sequence.length, "outputs": [logits]}
        found: np.ndarray = self.within_limit(feeds, partial(self.graph.advance, words))[logits]
        return found

    def _feeds(
        self, length: int, rows: Mapping[str, np.ndarray], keep: int
    ) -> dict[str, np.ndarray]:
        return feeds_of(self.ports, length, rows, keep)


class PrefillSession(Session):
    """A loaded graph that reads prompts."""

    def __init__(self, signature: OnnxSignature, ports: DecoderPorts, placement: Placement) -> None:
        self.ports = ports
        path = signature.file.path
        assert path is not None
        super().__init__(path, contract_of(signature), placement, signature.nbytes)


def feeds_of(
    ports: DecoderPorts, length: int, rows: Mapping[str, np.ndarray], keep: int
) -> dict[str, np.ndarray]:
    """Return what goes in beside the cache of `length` rows, each as its input is typed."""
    inputs = ports.inputs
    total = length + _count(rows)
    given: dict[str, Any] = {**rows}
    given[MASK] = np.ones((1, total))
    positions = inputs.get(POSITIONS)
    given[POSITIONS] = np.arange(length, total)[None]
    if positions and len(positions.dims or ()) == AXES:
        given[POSITIONS] = np.broadcast_to(given[POSITIONS], (AXES, 1, total - length))
    given[KEEP] = np.full((1,) * len(_dims(inputs.get(KEEP))), keep)
    given[BRANCH] = np.full(1, length > 0)
    feeds = {}
    for name, value in inputs.items():
        feeds[value.name] = np.asarray(given[name], LONG[value.dtype], order="C")
    return feeds


def _count(rows: Mapping[str, np.ndarray]) -> int:
    """Return how many rows a batch of one has."""
    count: int = next(iter(rows.values())).shape[1]
    return count


def _dims(value: OnnxValue | None) -> tuple[Any, ...]:
    return value.dims or () if value else ()


def contract_of(signature: OnnxSignature) -> GraphContract:
    """Return what a file declares, to be compared with what is loaded."""
    tensors: dict[str, dict[str, ContractTensor]] = {"input": {}, "output": {}}
    for role, values in (("input", signature.inputs), ("output", signature.outputs)):
        for each in values:
            tensors[role][each.name] = ContractTensor(
                role, each.name, each.dtype, each.dims or (), False, each.dims is None
            )
    return GraphContract(
        str(signature.file), tensors["input"], tensors["output"], OnnxGraphConfig()
    )
