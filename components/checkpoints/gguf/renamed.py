"""Collect tensors under the names that they have in a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from composer.core.errors import ComposerError, Place, Problem

if TYPE_CHECKING:
    from composer.formats.safetensors import Tensor


def by_name(renamed: Iterable[Tensor]) -> dict[str, Tensor]:
    """Return tensors by their names; refuse a file in which two have one name."""
    found: dict[str, Tensor] = {}
    for tensor in renamed:
        if tensor.name in found:
            message = f"has two tensors that are the checkpoint's {tensor.name}"
            raise ComposerError(Problem("W241", message, Place(str(tensor.file))))
        found[tensor.name] = tensor
    return found
