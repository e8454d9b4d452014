"""The head of a decoder, of which greedy decoding reads coarse products.

Of one of floats a weight has a coarse digit and two finer ones, 20 bits that are together as near
to it as float32; one that is packed is its codes. A row has three planes, of which the first is a
coarse one. The coarse product has an error that is bounded row by row. So what is finer is wanted
for all logits alone, and for the largest the stored rows of those that may still be it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from composer.formats.quantization import Scheme

from ..checkpoints.modules import Module
from .blocks import Symbol
from .head_bounds import store_digits, store_packed_bounds
from .int8_planes import (
    write_even_rows,
    write_joined_planes,
    write_packed_matmul,
    write_rounding_rest,
    write_sum_over_planes,
    write_unpadded_products,
)
from .matmuls import MatmulMode, PackedMatmulBlocks

ALL, SCORES, HIDDEN, REST = "all", "scores", "hidden", "rest"
Digit = tuple[Symbol, Symbol, Scheme]  # codes, scales and their packing


class HeadForm(Enum):
    """How a graph has its head: as other products are, coarse first where it can be, or not."""

    AS_STORED = "as stored"
    COARSE_FIRST = "coarse first"
    LEFT_OUT = "left out"


def write_coarse_head(nn: PackedMatmulBlocks, x: Symbol, head: Module) -> tuple[Symbol, int] | None:
    """Multiply rows by a head, coarse products first; return them and the size of its groups.

    They are an output of the graph, before anything else is made of them. Return None for a head
    that has no form for it.
    """
    if size := head.digit_group_size:
        scheme, short = Scheme(8, size, "affine"), Scheme(4, size, "affine")
        names = store_digits(nn.weights, head, size)
        coarse, fine, finest, *steps = (Symbol(name, nn) for name in names)
        digits = [(coarse, steps[0], scheme), (fine, steps[1], scheme), (finest, steps[2], short)]
        products = _write_nodes(nn, x, digits, head.shape)
    elif head.scheme and nn.rows is MatmulMode.PLANES and "bias" not in head.parts:
        size, name = head.scheme.group_size, head.path
        digit = *nn.packed_parts(name, [head]), head.scheme
        products = _write_nodes(nn, x, [digit], head.shape)
        store_packed_bounds(nn.weights, head)
        products = nn.with_offsets(products, x, name, [head])
    else:
        return None
    nn.weights.model.node("Identity", [products.name], [SCORES])
    nn.weights.model.add_output(SCORES, "float32", ["R", head.shape[0]])
    return products, size


def _write_nodes(
    nn: PackedMatmulBlocks, x: Symbol, digits: Sequence[Digit], shape: Sequence[int]
) -> Symbol:
    """Multiply rows by digits: coarse products, or whole ones where the input `all` is true.

    The rows and what their first plane leaves out are outputs of the graph.
    """
    rows, width = shape
    first, *finer = digits
    scheme = first[2]
    count = nn.row_count(*(each[2] for each in digits))
    size = scheme.group_size
    model = nn.weights.model
    model.add_input(ALL, "bool", [])
    grouped = nn.reshape(x, 0, 1, -1, size)
    rest = write_rounding_rest(nn, grouped, scheme)
    if count:  # which branches read
        count.zero_row(width), count.zero_planes(width // size, size)
    by_row = nn.node("Concat", nn.node("Shape", x, start=0, end=1), nn.ints(-1, rows), axis=0)
    with nn.weights.branch() as planes:
        last = write_rounding_rest(nn, rest, scheme)
        every = write_joined_planes(nn, [grouped, rest, last], count, size, width)
        planes.node("Identity", [nn.reshape(every, -1, width).name], ["planes"])
        planes.add_output("planes", "float32", ["P", width])
    with nn.weights.branch() as rounded:
        even = write_even_rows(nn, x, count, width)
        rounded.node("Identity", [even.name], ["plane"])
        rounded.add_output("plane", "float32", ["P", width])
    model.choose(ALL, planes, rounded, "given")
    given = Symbol("given", nn)
    product = write_packed_matmul(nn, given, *first[:2], rows, width, scheme)
    with nn.weights.branch() as exact:
        total = product
        for each in finer:
            total = write_packed_matmul(nn, given, *each[:2], rows, width, each[2]) + total
        total = write_sum_over_planes(nn, nn.node("Reshape", total, by_row), count, rows)
        exact.node("Identity", [total.name], ["whole"])
        exact.add_output("whole", "float32", ["R", rows])
    with nn.weights.branch() as near:
        single = write_unpadded_products(nn, product, count)
        near.node("Identity", [single.name], ["near"])
        near.add_output("near", "float32", ["R", rows])
    model.choose(ALL, exact, near, "products")
    for name, value in (HIDDEN, x), (REST, nn.reshape(rest, -1, width)):
        model.node("Identity", [value.name], [name])
        model.add_output(name, "float32", ["R", width])
    return Symbol("products", nn)
