"""The operator that keeps marked rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from composer.core import registry
from composer.core.operator import operator


@operator(x="T D @S", at="bool T", returns="N D @S")
def keep(x: Any, at: np.ndarray) -> Any:
    """Keep the rows where a mask is true, in their order and space."""
    rows = np.flatnonzero(at)
    return x[registry.backend_of(x).from_numpy(rows, "i64")]
