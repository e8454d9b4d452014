"""Refuse weights that are no numbers, by the name of their tensor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from composer.core.errors import ComposerError, Problem

from .row_reader import PIECE, RowReader

if TYPE_CHECKING:
    from composer.formats.safetensors import Tensor


def require_finite(tensor: Tensor, value: np.ndarray, dtype: str = "f32") -> None:
    """Raise S479 where a weight in a dtype has NaN or infinity; one number alone may be a bound."""
    if np.isnan(value).any() or (value.size > 1 and not np.isfinite(value).all()):
        raise not_finite(tensor, dtype)


def damage_in(tensors: Mapping[str, Tensor]) -> Callable[[], tuple[str, ...]]:
    """Return a function that names a stored weight which is no number, as the cause of others."""

    def damage() -> tuple[str, ...]:
        tensor = find_not_finite(tensors)
        if tensor is None:
            return ()
        return (f"{tensor.file}: {tensor.name} holds numbers that are NaN or infinite",)

    return damage


def find_not_finite(tensors: Mapping[str, Tensor]) -> Tensor | None:
    """Return the first tensor that is stored with NaN or infinity; one number may be a bound."""
    reader = RowReader()
    for tensor in tensors.values():
        if not tensor.shape or not tensor.nbytes or tensor.dtype in ("u32", "u8"):
            continue
        rows = tensor.shape[0]
        step = max(1, PIECE * rows // (2 * tensor.nbytes))
        for start in range(0, rows, step):
            values = reader.rows(tensor, start, min(start + step, rows))
            if np.isnan(values).any() or (values.size > 1 and np.isinf(values).any()):
                return tensor
    return None


def not_finite(tensor: Tensor, dtype: str) -> ComposerError:
    """Return the error for a tensor that has NaN or infinity once it is in a dtype."""
    message = f"{tensor.file}: {tensor.name} holds numbers that are NaN or infinite in {dtype}"
    hint = "its training diverged, the file is damaged, or the precision is too small for it"
    return ComposerError(Problem("S479", message, hint=hint))
