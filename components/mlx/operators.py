"""Operators that MLX runs on its own arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..operators.concat import concat
from ..operators.keep import keep
from ..operators.pool import pool
from ..operators.row import row
from ..operators.slice import slice
from ..operators.stack_frames import stack_frames
from ..operators.transpose import transpose
from .dtypes import short_name

# These use nothing but what arrays of MLX and of NumPy have in common.
SHARED = (concat, keep, pool, row, slice, stack_frames, transpose)


def scatter(base: Any, at: np.ndarray, values: Any) -> Any:
    """Return base [T, D] with the rows where at [T] is true replaced by values, in order."""
    import mlx.core as mx

    rows = _marked(at, base.shape[0])
    if tuple(values.shape) != (rows.size, *base.shape[1:]) or values.dtype != base.dtype:
        raise ValueError(
            f"scatter into {rows.size} marked rows of {short_name(base.dtype)} {list(base.shape)} "
            f"needs values {[rows.size, *base.shape[1:]]} of the same dtype, not "
            f"{short_name(values.dtype)} {list(values.shape)}"
        )
    if not rows.size:
        return base
    out = mx.array(base)
    out[mx.array(rows)] = values
    return out


def fill(ids: Any, at: np.ndarray, *, value: int) -> Any:
    """Return ids [T] with `value` wherever at [T] is true."""
    import mlx.core as mx

    _marked(at, ids.shape[0])
    return mx.where(mx.array(at), mx.array(value, ids.dtype), ids)


def _marked(at: np.ndarray, length: int) -> np.ndarray:
    """Return the positions where at [T] is true; raise ValueError unless it is bool and T long."""
    if at.dtype != np.bool_ or at.shape != (length,):
        raise ValueError(f"'at' must be bool [{length}], not {at.dtype} {list(at.shape)}")
    return np.flatnonzero(at)


OPERATORS: Mapping[str, Callable[..., Any]] = {
    "scatter": scatter,
    "fill": fill,
    **{operator.name: operator.function for operator in SHARED},
}
