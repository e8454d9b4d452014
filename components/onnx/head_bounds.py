"""What bounds the coarse products of a head, which is written down beside its weights."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from composer.core.errors import ComposerError, Problem

from ..checkpoints.ggml_blocks import SYMMETRIC
from ..checkpoints.modules import Module
from ..checkpoints.row_reader import RowReader, row_ranges
from ..checkpoints.weight_digits import group_norms, row_norms, split_into_digits
from .weights import WeightsFile, WeightsLayout

AT_ONCE = 1 << 18  # weights, which stay in a processor's cache
BOUNDS = "head.error", "head.norm", "head.step", "head.offset"


@dataclass(frozen=True)
class CoarseHeadBounds:
    """What bounds the coarse product of each row, float32 [V].

    `error` is the norm of what the coarse digits leave out, `norm` that of what they stand for,
    `step` the largest step of a group and `offset` the largest that all its weights are off by; a
    row has `groups` of them, of a `size`.
    """

    error: np.ndarray
    norm: np.ndarray
    step: np.ndarray
    offset: np.ndarray
    groups: int
    size: int

    @classmethod
    def read(cls, weights: WeightsLayout, folder: Path, module: Module, size: int) -> Self:
        """Read what `store_digits` or `store_packed_bounds` wrote beside a head's digits."""
        rows, width = module.shape
        error, norm, step, offset = (
            weights.read(folder, name, "float32", (rows,)) for name in BOUNDS
        )
        return cls(error, norm, step, offset, width // size, size)


def store_packed_bounds(weights: WeightsLayout, module: Module) -> None:
    """Write what bounds the products of a packed head by one plane: all but the plane is exact."""
    rows, scheme = module.shape[0], module.scheme
    assert scheme is not None
    bounds = [weights.place(name, "float32", (rows,)) for name in BOUNDS]
    if not isinstance(weights, WeightsFile):
        return
    reader = RowReader()
    for start, end in row_ranges(module):
        codes = reader.packed(module, "codes", start, end)
        if scheme.bits == 4:
            codes = np.concatenate([codes & 15, codes >> 4], axis=-1)
        scales = np.abs(reader.packed(module, "scales", start, end).reshape(end - start, -1))
        steps = np.subtract(codes, np.float32(1 << (scheme.bits - 1)), dtype=np.float32)
        norm = row_norms(group_norms(steps) * scales)
        none = offset = np.zeros(end - start)
        if scheme.mode != SYMMETRIC:
            offset = np.abs(reader.packed(module, "residual_offset", start, end)).max(-1)
        _put_bounds(weights, bounds, start, (none, norm, scales.max(-1), offset))
    for file in reader.files.values():
        file.require_unchanged()


def store_digits(weights: WeightsLayout, module: Module, size: int) -> list[str]:
    """Write digits and steps, and what bounds the rows, piece by piece; return the first names."""
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
        found = part.error, part.norm, part.steps.max(-1), np.zeros(end - start)
        _put_bounds(weights, bounds, start, found)

    step = max(AT_ONCE // width, 1)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(write, range(0, rows, step)):
            pass
    for file in reader.files.values():
        file.require_unchanged()


def _put_bounds(
    weights: WeightsFile, bounds: Sequence[int], start: int, found: Sequence[np.ndarray]
) -> None:
    """Write what bounds some rows, each kind to its place."""
    for at, each in zip(bounds, found, strict=True):
        weights.put(at + 4 * start, each.astype(np.float32))
