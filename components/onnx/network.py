"""Run a network on ONNX Runtime, from its safetensors and without an exported file."""

from __future__ import annotations

import numpy as np

from composer.core.placement import Placement
from composer.formats import Headers

from ..checkpoints.weights import WeightReader
from ..models.network import Network
from .blocks import OnnxBlocks, Symbol
from .lm.session import open_sessions
from .weights import Weights

OUTPUT = "rows"


class OnnxNetwork:
    """A network as a function of NumPy's arrays, in a session of its own."""

    def __init__(self, network: Network, placement: Placement) -> None:
        self.network = network
        self.reader = WeightReader(
            network.tensors, network.stored(Headers()), network.torch_ordered, network.schemes
        )
        (self.session,) = open_sessions(network.name, network.nbytes(4), self._build, placement)

    def _build(self, weights: Weights) -> None:
        """Write the graph and its weights down; both are removed once they are loaded."""
        blocks = OnnxBlocks(weights, self.network.tensors, self.reader.read)
        for name, dims in self.network.inputs.items():
            weights.model.add_input(name, "float32", dims)
        symbols = (Symbol(name, blocks) for name in self.network.inputs)
        made = self.network.write(blocks, *symbols)
        weights.model.node("Identity", [made.name], [OUTPUT])
        weights.model.add_output(OUTPUT, "float32", self.network.output)

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        return self.session.call(dict(zip(self.network.inputs, inputs, strict=True)))
