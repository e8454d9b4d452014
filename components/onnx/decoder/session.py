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
from .ports import AXES, BRANCH, KEEP, LOGITS, MASK, POSITIONS, DecoderPorts

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

    def __del__(self) -> None:
        self.session.graph.forget(self.number)


class PublishedSession(Session):
    """A loaded decoder; `ports` say what its inputs are for."""

    def __init__(
        self,
        signature: OnnxSignature,
        ports: DecoderPorts,
        placement: Placement,
    ) -> None:
        self.ports = ports
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
        feeds = self._feeds(sequence.length, rows, keep)
        words = {"sequence": sequence.number, "rows": sequence.length, "outputs": [LOGITS]}
        advance = partial(self.graph.advance, words)
        logits: np.ndarray = self.within_limit(feeds, advance)[LOGITS]
        sequence.length += _count(rows)
        return logits.reshape(-1, logits.shape[-1]).astype(np.float32, copy=False)

    def _feeds(
        self, length: int, rows: Mapping[str, np.ndarray], keep: int
    ) -> dict[str, np.ndarray]:
        """Return what goes in beside the cache of so many rows, each as its input is typed."""
        inputs = self.ports.inputs
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
            feeds[name] = np.asarray(given[name], LONG[value.dtype], order="C")
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
