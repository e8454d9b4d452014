"""Run a network in NumPy."""

from __future__ import annotations

import numpy as np

from ..checkpoints.weights import WeightReader
from ..models.network import Network, WatchedFunction
from ..models.network_adapters import NetworkAdapters
from .blocks import NumpyBlocks


class NumpyNetwork(WatchedFunction):
    """A network as a function of NumPy's arrays, computed block by block."""

    def __init__(self, network: Network) -> None:
        self.network = network
        reader = WeightReader(network.tensors, network.packed, network.torch_ordered)
        self.weights = {name: reader.read(name) for name in network.tensors}
        self.adapters = NetworkAdapters(network)

    def __call__(self, *inputs: np.ndarray, adapters: tuple[str, ...] = ()) -> np.ndarray:
        updates = self.adapters.selected(adapters)
        blocks = NumpyBlocks(self.weights, self.watched, updates)
        made: np.ndarray = self.network.write(blocks, *inputs)
        return made
