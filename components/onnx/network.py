"""Run a network on ONNX Runtime, from its safetensors and without an exported file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from composer.core.calibration import OnInput
from composer.core.placement import Placement

from ..checkpoints.modules import runs_packed
from ..checkpoints.weights import WeightReader
from ..models.network import Network, WatchedFunction
from ..models.network_adapters import NetworkAdapters
from .blocks import OnnxBlocks, Symbol
from .lm.session import DecoderSession, open_sessions
from .low_rank import low_rank_inputs, write_low_rank
from .matmuls import MatmulMode, PackedMatmulBlocks
from .weights import WeightsLayout

OUTPUT = "rows"


class NetworkBlocks(PackedMatmulBlocks):
    """Blocks over a network's weights; those that are packed are unpacked piece by piece.

    `seen` are the Linears of some names, in the order in which they are run, with their inputs.
    The updates of those that are `adapted`, by shape, are inputs.
    """

    def __init__(
        self,
        weights: WeightsLayout,
        network: Network,
        watched: Collection[str],
        adapted: Mapping[str, tuple[int, int]],
    ) -> None:
        super().__init__(weights, network.packed, MatmulMode.FLOAT32, lambda _: True)
        self.watched = watched
        self.adapted = adapted
        self.seen: list[tuple[str, Symbol]] = []
        self.names = frozenset(network.tensors)
        self.encoder_weights = WeightReader(network.tensors, network.packed, network.torch_ordered)
        self.read = self.encoder_weights.read

    def linear(self, x: Symbol, name: str) -> Symbol:
        if name in self.watched:
            self.seen.append((name, x))
        if name in self.modules and self.modules[name].scheme:
            self.encoder_weights.require_finite_parts(self.modules[name])
            made = super().linear(x, name)
        else:
            made = OnnxBlocks.linear(self, x, name)
        if name in self.adapted:
            made = write_low_rank(self, x, made, name, self.adapted[name])
        return made


class OnnxNetwork(WatchedFunction):
    """A network as a function of NumPy's arrays, in a session of its own."""

    def __init__(self, network: Network, placement: Placement) -> None:
        self.network = network
        self.placement = placement
        self.adapters = NetworkAdapters(network)
        self.selected: dict[tuple[str, ...], dict[str, np.ndarray]] = {}
        self.seen: list[str] = []
        self.session = self._open()

    def _open(self) -> DecoderSession:
        nbytes = self.network.nbytes(4, runs_packed)
        keep = any(module.scheme for module in self.network.packed.values())
        (session,) = open_sessions(self.network.name, nbytes, self._build, self.placement, keep)
        return session

    @contextmanager
    def watch(self, layers: Mapping[str, OnInput]) -> Iterator[None]:
        """Pass on what goes into Linears, which a second session gives as outputs."""
        session = self.session
        with super().watch(layers):
            self.session = self._open()
            try:
                yield
            finally:
                self.session, self.seen = session, []

    def _build(self, weights: WeightsLayout) -> None:
        """Write the graph and its weights down; both are removed once they are loaded."""
        blocks = NetworkBlocks(weights, self.network, self.watched.keys(), self.adapters.modules)
        for name, dims in self.network.inputs.items():
            dtype = "int64" if name in self.network.row_numbers else "float32"
            weights.model.add_input(name, dtype, dims)
        symbols = (Symbol(name, blocks) for name in self.network.inputs)
        made = self.network.write(blocks, *symbols)
        weights.model.node("Identity", [made.name], [OUTPUT])
        weights.model.add_output(OUTPUT, "float32", self.network.output)
        self.seen = [name for name, _ in blocks.seen]
        for number, (name, x) in enumerate(blocks.seen):
            width = self.network.tensors[f"{name}.weight"].shape[1]
            output = f"input_{number}"
            rows = blocks.node("Reshape", x, blocks.ints(-1, width))
            weights.model.node("Identity", [rows.name], [output])
            weights.model.add_output(output, "float32", (output, width))

    def __call__(self, *inputs: np.ndarray, adapters: tuple[str, ...] = ()) -> np.ndarray:
        if adapters not in self.selected:
            updates = self.adapters.selected(adapters)
            self.selected[adapters] = low_rank_inputs(self.adapters.modules, updates)
        given = dict(zip(self.network.inputs, inputs, strict=True))
        made, *seen = self.session.outputs(given | self.selected[adapters])
        for name, rows in zip(self.seen, seen, strict=True):
            self.watched[name](rows)
        return made
