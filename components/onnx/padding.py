"""Pad the frames that a graph is fed."""

from __future__ import annotations

import numpy as np

from composer.core.sizes import require_size

from .graph_contract import ContractTensor


def pad_frames(
    tensor: ContractTensor, value: np.ndarray, axis: int, length: int, fill: float
) -> np.ndarray:
    """Return a value of so many frames along an axis, `fill` behind its own; raise R558."""
    shape = [*value.shape]
    shape[axis] = length
    require_size(f"{tensor}, padded,", *shape)
    widths = [(0, 0)] * value.ndim
    widths[axis] = (0, length - value.shape[axis])
    return np.pad(value, widths, constant_values=value.dtype.type(fill))
