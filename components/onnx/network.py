"""Run a network on ONNX Runtime, from its safetensors and without an exported file."""

from __future__ import annotations

from typing import Any

import numpy as np

from composer.formats import Headers

from ..checkpoints.weights import WeightReader
from ..models.network import Network, Run
from .lm.session import Session
from .lm.weights import Weights
from .vocabulary import OnnxVocabulary, Symbol

OUTPUT = "rows"


def compile_network(network: Network, placement: Any) -> Run:
    """Write a network's graph and its weights down, load them, and remove them."""
    reader = WeightReader(
        network.tensors, network.stored(Headers()), network.torch_ordered, network.schemes
    )

    def build(weights: Weights) -> None:
        vocabulary = OnnxVocabulary(weights, network.tensors, reader.read)
        for name, dims in network.inputs.items():
            weights.model.takes(name, "float32", dims)
        symbols = (Symbol(name, vocabulary) for name in network.inputs)
        made = network.write(vocabulary, *symbols)
        weights.model.node("Identity", [made.name], [OUTPUT])
        weights.model.gives(OUTPUT, "float32", network.output)

    session = Session(network.name, network.nbytes(4), build, placement)

    def run(*inputs: np.ndarray) -> np.ndarray:
        feeds = dict(zip(network.inputs, inputs, strict=True))
        return session.call(feeds)

    return run
