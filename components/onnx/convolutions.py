"""Nodes that convolve.

`graph` is the `OnnxBlocks` that the nodes are added to, and arrays are its symbols.
"""

from __future__ import annotations

import numpy as np

from ..models.blocks import Array

Graph = Array


def write_convolution(
    graph: Graph, x: Array, name: str, stride: int, padding: int, batched: bool, depthwise: bool
) -> Array:
    """Return x [*space, in] convolved, or each of x [N, *space, in] where it is batched."""
    weight = _torch_ordered(graph, name)
    channels, _, *kernel = weight.shape
    space = len(kernel)
    if not batched:
        x = graph.expand(x, 0)
    parts = [graph.transpose(x, 0, space + 1, *range(1, space + 1)), weight]
    if graph.has(f"{name}.bias"):
        parts.append(graph.weight(f"{name}.bias"))
    sizes = {"strides": [stride] * space, "pads": [padding] * 2 * space}
    made = graph.node("Conv", *parts, **sizes, group=channels if depthwise else 1)
    rows = graph.transpose(made, 0, *range(2, space + 2), 1)
    return rows if batched else graph.node("Squeeze", rows, graph.ints(0))


def write_causal_depthwise(graph: Graph, x: Array, name: str) -> Array:
    """Return x [T, C], each channel convolved by its row of the weight, up to itself."""
    weight = _torch_ordered(graph, name)
    channels, _, kernel = weight.shape
    first = graph.expand(graph.transpose(x, 1, 0), 0)
    made = graph.node("Conv", first, weight, group=channels, pads=[kernel - 1, 0])
    return graph.transpose(graph.node("Squeeze", made, graph.ints(0)), 1, 0)


def _torch_ordered(graph: Graph, name: str) -> Array:
    """Return a convolution's weight as [out, in, *kernel]."""
    stored = f"{name}.weight"
    return graph.changed_weight(f"{stored}.torch", stored, lambda value: np.moveaxis(value, -1, 1))
