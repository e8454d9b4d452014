"""Run a network on ONNX Runtime, from its safetensors and without an exported file."""

from __future__ import annotations

import numpy as np

from composer.core.placement import Placement

from ..checkpoints.modules import runs_packed
from ..checkpoints.weights import WeightReader
from ..models.network import Network
from .blocks import OnnxBlocks, Symbol
from .lm.session import open_sessions
from .matmuls import MatmulMode, PackedMatmulBlocks
from .weights import WeightsFile

OUTPUT = "rows"


class NetworkBlocks(PackedMatmulBlocks):
    """Blocks over a network's weights; those that are packed are unpacked piece by piece."""

    def __init__(self, weights: WeightsFile, network: Network) -> None:
        super().__init__(weights, network.packed, MatmulMode.FLOAT32)
        self.names = frozenset(network.tensors)
        self.encoder_weights = WeightReader(network.tensors, network.packed, network.torch_ordered)
        self.read = self.encoder_weights.read

    def linear(self, x: Symbol, name: str) -> Symbol:
        if name in self.modules and self.modules[name].scheme:
            self.encoder_weights.require_finite_parts(self.modules[name])
            return super().linear(x, name)
        return OnnxBlocks.linear(self, x, name)


class OnnxNetwork:
    """A network as a function of NumPy's arrays, in a session of its own."""

    def __init__(self, network: Network, placement: Placement) -> None:
        self.network = network
        nbytes = network.nbytes(4, runs_packed)
        keep = any(module.scheme for module in network.packed.values())
        (self.session,) = open_sessions(network.name, nbytes, self._build, placement, keep)

    def _build(self, weights: WeightsFile) -> None:
        """Write the graph and its weights down; both are removed once they are loaded."""
        blocks = NetworkBlocks(weights, self.network)
        for name, dims in self.network.inputs.items():
            dtype = "int64" if name in self.network.row_numbers else "float32"
            weights.model.add_input(name, dtype, dims)
        symbols = (Symbol(name, blocks) for name in self.network.inputs)
        made = self.network.write(blocks, *symbols)
        weights.model.node("Identity", [made.name], [OUTPUT])
        weights.model.add_output(OUTPUT, "float32", self.network.output)

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        return self.session.call(dict(zip(self.network.inputs, inputs, strict=True)))
