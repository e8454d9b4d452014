"""Run a network in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

from composer.formats import Headers

from ..checkpoints.weights import WeightReader
from ..models.network import Network, Run
from .vocabulary import NumpyVocabulary


def compile_network(network: Network, placement: Any) -> Run:
    """Read a network's weights and return it as a function of NumPy's arrays."""
    reader = WeightReader(
        network.tensors, network.stored(Headers()), network.torch_ordered, network.schemes
    )
    weights = {name: reader.read(name) for name in network.tensors}

    def run(*inputs: np.ndarray) -> np.ndarray:
        made: np.ndarray = network.write(NumpyVocabulary(weights), *inputs)
        return made

    return run
