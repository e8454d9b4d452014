"""The node by which the rows of an encoder attend to each other.

`graph` is the `OnnxBlocks` that the node is added to, and arrays are its symbols.
"""

from __future__ import annotations

from ..models.blocks import Array
from .proto import CONTRIB

Graph = Array


def write_attention(
    graph: Graph, rows: list[Array], none: Array, num_heads: int, scale: float, bias: Array | None
) -> Array:
    """Return what the rows of queries, keys and values make, head by head; `none` is no input."""
    inputs = [graph.expand(x, 0) for x in rows]
    if bias is not None:
        # Between them would be the biases of projections, and which rows are padding.
        inputs += [none, none, graph.expand(bias, 0)]
    heads = {"num_heads": num_heads, "scale": scale}
    made = graph.node("MultiHeadAttention", *inputs, domain=CONTRIB, **heads)
    return graph.node("Squeeze", made, graph.ints(0))
