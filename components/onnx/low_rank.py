"""Write a low-rank update as inputs of a graph, so that one base serves every selection."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..checkpoints.lora.updates import LowRank
from .blocks import OnnxBlocks, Symbol


def write_low_rank(
    graph: OnnxBlocks, x: Symbol, y: Symbol, name: str, shape: tuple[int, int]
) -> Symbol:
    """Return y [T, out] + (x A) B for rows x [T, in]; A and B are inputs, of any rank.

    With a rank of 0 the product is empty, and the sum has the bits of y.
    """
    inputs, outputs = shape
    a = _input(graph, f"lora_a {name}", (inputs, f"rank {name}"))
    b = _input(graph, f"lora_b {name}", (f"rank {name}", outputs))
    return graph.node("Gemm", graph.matmul(x, a), b, y)


def low_rank_inputs(
    modules: Mapping[str, tuple[int, int]], updates: Mapping[str, LowRank]
) -> dict[str, np.ndarray]:
    """Return the inputs of all modules: A and B of those with an update, and of others none."""
    given = {}
    for name, (inputs, outputs) in modules.items():
        update = updates.get(name)
        if update is None:
            update = LowRank(np.zeros((inputs, 0), np.float32), np.zeros((0, outputs), np.float32))
        given[f"lora_a {name}"], given[f"lora_b {name}"] = update
    return given


def _input(graph: OnnxBlocks, name: str, dims: tuple[int | str, ...]) -> Symbol:
    graph.weights.model.add_input(name, "float32", dims)
    return Symbol(name, graph)
