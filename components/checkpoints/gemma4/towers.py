"""Take a tower's tensors out of a whole Gemma-4 checkpoint."""

from __future__ import annotations

from collections.abc import Mapping

from composer.core.errors import ComposerError
from composer.formats.safetensors import Tensor

from ..layout import LayoutChecker


def own_tensors(
    checker: LayoutChecker, index: Mapping[str, Tensor], tower: str, embed: str, hint: str
) -> dict[str, Tensor]:
    """Return the tensors under two prefixes, without `model.`, which transformers puts before.

    Raise W222 with a hint where there is no tower.
    """
    found: dict[str, Tensor] = {}
    twice = []
    for name, tensor in index.items():
        short = name.removeprefix("model.")
        if not short.startswith((tower, embed)):
            continue
        if short in found:
            twice.append(short)
        found[short] = tensor
    if twice:
        checker.report("W271", "tensors are there twice, with model. before them too", *twice)
    if not any(name.startswith(tower) for name in found):
        checker.report("W222", f"{checker.location} has no {tower}*", hint=hint)
        raise ComposerError(checker.problems)
    return found
