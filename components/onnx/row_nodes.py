"""Nodes that count and group rows, whose number only a run knows.

`graph` is the `OnnxBlocks` that the nodes are added to, and arrays are its symbols.
"""

from __future__ import annotations

import numpy as np

from ..models.blocks import Array
from .proto import TYPES

Graph = Array


def write_past(graph: Graph, x: Array, size: int) -> Array:
    """Return row t + w of the padded rows for each t and w, int64 [T, size]."""
    zero, one = _scalar(graph, 0), _scalar(graph, 1)
    rows = graph.expand(graph.node("Range", zero, _count(graph, x), one), 1)
    return graph.node("Add", rows, graph.ints(*range(size)))


def write_groups(graph: Graph, x: Array, by: int, fill: float | None) -> Array:
    """Return the rows of x [N, W] in groups [G, by, W]."""
    length, width = graph.node("Shape", x, start=0, end=1), graph.node("Shape", x, start=1)
    left = graph.node("Mod", length, graph.ints(by))
    if fill is None:
        x = graph.node("Slice", x, graph.ints(0), length - left, graph.ints(0))
    else:
        more = graph.node("Mod", graph.ints(by) - left, graph.ints(by))
        pads = graph.node("Concat", graph.ints(0), more, axis=0)
        x = graph.node("Pad", x, pads, graph.as_symbol(fill), graph.ints(0))
    shape = graph.node("Concat", graph.ints(-1, by), width, axis=0)
    return graph.node("Reshape", x, shape)


def write_group_sizes(graph: Graph, x: Array, by: int) -> Array:
    """Return how many rows of x each group of so many has, [G, 1]."""
    zero, step = _scalar(graph, 0), _scalar(graph, by)
    length = _count(graph, x)
    sizes = graph.node("Min", length - graph.node("Range", zero, length, step), step)
    return graph.expand(graph.node("Cast", sizes, to=TYPES["float32"]), 1)


def _scalar(graph: Graph, value: int) -> Array:
    """Return a constant, an int64 scalar."""
    return graph.constant(np.array(value, np.int64))


def _count(graph: Graph, x: Array) -> Array:
    """Return the number of rows, an int64 scalar."""
    return graph.node("Squeeze", graph.node("Shape", x, start=0, end=1), graph.ints(0))
