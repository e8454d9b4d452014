"""The operator that puts one id into marked positions."""

from __future__ import annotations

import numpy as np

from composer.core.operator import operator


@operator(ids="i64 T", at="bool T", returns="i64 T")
def fill(ids: np.ndarray, at: np.ndarray, *, value: int) -> np.ndarray:
    """Put one id into marked positions."""
    return np.where(at, np.asarray(value, ids.dtype), ids)
