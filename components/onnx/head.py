"""The head of a decoder in 20 bits a weight, of which greedy decoding reads 8.

A weight has a coarse digit and two finer ones, which together are as near to it as float32. The
coarse product has an error that is bounded row by row. So the finer digits are wanted for all
logits alone, and for the largest the stored rows of those that may still be it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Self

import numpy as np

from composer.core.errors import ComposerError, Problem
from composer.formats.quantization import Scheme

from ..checkpoints.modules import Module
from ..checkpoints.row_reader import RowReader
from ..checkpoints.weight_digits import split_into_digits
from .blocks import OnnxBlocks, Symbol
from .int8_planes import (
    write_even_rows,
    write_int8_matmul,
    write_rounding_rest,
    write_sum_over_planes,
    write_unpadded_products,
)
from .weights import WeightsFile, WeightsLayout

AT_ONCE = 1 << 18  # weights, which stay in a processor's cache
ALL, SCORES, HIDDEN, REST = "all", "scores", "hidden", "rest"
BOUNDS = "head.error", "head.norm", "head.step"


class HeadForm(Enum):
    """How a graph has its head: as other products are, in digits where it can be, or not."""

    AS_STORED = "as stored"
    DIGITS = "digits"
    LEFT_OUT = "left out"


@dataclass(frozen=True)
class CoarseHeadBounds:
    """What bounds the coarse product of each row, float32 [V].

    `error` is the norm of what the coarse digits leave out, `norm` that of what they stand for, and
    `step` the largest step of a group; a row has `groups` of them.
    """

    error: np.ndarray
    norm: np.ndarray
    step: np.ndarray
    groups: int

    @classmethod
    def read(cls, weights: WeightsLayout, folder: Path, module: Module, size: int) -> Self:
        """Read what `write_head_nodes` wrote beside a head's digits."""
        rows, width = module.shape
        error, norm, step = (weights.read(folder, name, "float32", (rows,)) for name in BOUNDS)
        return cls(error, norm, step, width // size)


def write_head_nodes(nn: OnnxBlocks, x: Symbol, module: Module, size: int) -> Symbol:
    """Multiply rows by a head: coarse products, or whole ones where the input `all` is true.

    The rows, what their first plane leaves out, and these products before anything else is made of
    them are outputs of the graph.
    """
    rows, width = module.shape
    scheme, short = Scheme(8, size, "affine"), Scheme(4, size, "affine")
    names = _store(nn.weights, module, size)
    coarse, fine, finest, *steps = (Symbol(name, nn) for name in names)
    model = nn.weights.model
    model.add_input(ALL, "bool", [])
    groups = nn.reshape(x, 0, -1, size)
    rest = write_rounding_rest(nn, groups, scheme)
    with nn.weights.branch() as planes:
        last = write_rounding_rest(nn, rest, scheme)
        even = write_even_rows(nn, [groups, rest, last], size, width)
        planes.node("Identity", [even.name], ["planes"])
        planes.add_output("planes", "float32", ["P", width])
    with nn.weights.branch() as rounded:
        even = write_even_rows(nn, [groups], size, width)
        rounded.node("Identity", [even.name], ["plane"])
        rounded.add_output("plane", "float32", ["P", width])
    model.choose(ALL, planes, rounded, "given")
    given = Symbol("given", nn)
    product = write_int8_matmul(nn, given, coarse, steps[0], rows, width, scheme)
    with nn.weights.branch() as exact:
        last = write_int8_matmul(nn, given, finest, steps[2], rows, width, short)
        more = write_int8_matmul(nn, given, fine, steps[1], rows, width, scheme)
        total = write_sum_over_planes(nn, last + more + product, x, rows)
        exact.node("Identity", [total.name], ["whole"])
        exact.add_output("whole", "float32", ["R", rows])
    with nn.weights.branch() as near:
        single = write_unpadded_products(nn, product, x)
        near.node("Identity", [single.name], ["near"])
        near.add_output("near", "float32", ["R", rows])
    model.choose(ALL, exact, near, "products")
    for name, value, length in (
        (SCORES, Symbol("products", nn), rows),
        (HIDDEN, x, width),
        (REST, nn.reshape(rest, -1, width), width),
    ):
        model.node("Identity", [value.name], [name])
        model.add_output(name, "float32", ["R", length])
    return Symbol("products", nn)


def _store(weights: WeightsLayout, module: Module, size: int) -> list[str]:
    """Write bytes and steps, piece by piece, and what bounds the rows; return the first's names."""
    rows, width = module.shape
    groups = width // size
    forms = {
        "coarse": ("uint8", (rows, groups, size)),
        "fine": ("uint8", (rows, groups, size)),
        "finest": ("uint8", (rows, groups, size // 2)),
        "steps": ("float32", (rows * groups,)),
        "fine_steps": ("float32", (rows * groups,)),
        "finest_steps": ("float32", (rows * groups,)),
    }
    starts = {name: weights.reserve(f"head.{name}", *form) for name, form in forms.items()}
    bounds = [weights.place(name, "float32", (rows,)) for name in BOUNDS]
    if isinstance(weights, WeightsFile):
        _write_rows(weights, module, size, starts, bounds)
    return [f"head.{name}" for name in forms]


def _write_rows(
    weights: WeightsFile,
    module: Module,
    size: int,
    starts: Mapping[str, int],
    bounds: Sequence[int],
) -> None:
    """Write the digits of all rows, and what bounds them, each to its place."""
    rows, width = module.shape
    reader = RowReader()

    def write(start: int) -> None:
        end = min(start + step, rows)
        part = split_into_digits(reader.dense(module, start, end), size)
        if not np.isfinite(part.norm).all():
            raise ComposerError(
                Problem("R512", f"{module.path}.weight has numbers that are NaN or infinite")
            )
        for name, at in starts.items():
            piece: np.ndarray = getattr(part, name)
            weights.put(at + start * (piece.nbytes // len(piece)), piece)
        for at, found in zip(bounds, (part.error, part.norm, part.steps.max(-1)), strict=True):
            weights.put(at + 4 * start, found.astype(np.float32))

    step = max(AT_ONCE // width, 1)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(write, range(0, rows, step)):
            pass
    for file in reader.files.values():
        file.require_unchanged()
