"""Run a network in NumPy."""

from __future__ import annotations

import numpy as np

from ..checkpoints.weights import WeightReader
from ..models.network import Network, WatchedFunction
from .blocks import NumpyBlocks


class NumpyNetwork(WatchedFunction):
    """A network as a function of NumPy's arrays, computed block by block."""

    def __init__(self, network: Network) -> None:
        self.network = network
        reader = WeightReader(network.tensors, network.packed, network.torch_ordered)
        self.weights = {name: reader.read(name) for name in network.tensors}

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        made: np.ndarray = self.network.write(NumpyBlocks(self.weights, self.watched), *inputs)
        return made
