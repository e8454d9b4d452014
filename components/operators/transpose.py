"""The operator that exchanges rows and columns."""

from __future__ import annotations

from typing import Any

from composer.core.operator import operator


@operator(x="A B", returns="B A")
def transpose(x: Any) -> Any:
    """Exchange rows and columns; the result is in no space."""
    return x.T
