"""The operator that takes a vector as one row."""

from __future__ import annotations

from typing import Any

from composer.core.operator import operator


@operator(x="D @S", returns="1 D @S")
def row(x: Any) -> Any:
    """Take a vector as one row, in its space."""
    return x.reshape(1, x.shape[0])
