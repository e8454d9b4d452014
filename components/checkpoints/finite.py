"""Refuse weights that are no numbers, by the name of their tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from composer.core.errors import ComposerError, Problem

if TYPE_CHECKING:
    from composer.formats.safetensors import Tensor


def require_finite(tensor: Tensor, value: np.ndarray, dtype: str = "f32") -> None:
    """Raise S479 where a weight in a dtype has NaN or infinity; one number alone may be a bound."""
    if np.isnan(value).any() or (value.size > 1 and not np.isfinite(value).all()):
        raise not_finite(tensor, dtype)


def not_finite(tensor: Tensor, dtype: str) -> ComposerError:
    """Return the error for a tensor that has NaN or infinity once it is in a dtype."""
    message = f"{tensor.file}: {tensor.name} holds numbers that are NaN or infinite in {dtype}"
    hint = "its training diverged, the file is damaged, or the precision is too small for it"
    return ComposerError(Problem("S479", message, hint=hint))
