"""The operator that puts the rows of several values one after the other."""

from __future__ import annotations

from typing import Any

from composer.core import registry
from composer.core.operator import operator
from composer.core.sizes import require_size


@operator(values="N D @S ...", returns="M D @S", joins=True)
def concat(values: tuple[Any, ...]) -> Any:
    """Put the rows of several values one after the other; all are in one space."""
    backend = registry.backend_of(values[0])
    rows = sum(len(each) for each in values)
    require_size("the rows together", rows, *backend.shape(values[0])[1:])
    return backend.concat(values)
