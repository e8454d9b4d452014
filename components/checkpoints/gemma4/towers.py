"""Take a tower's tensors out of a whole Gemma-4 checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import filterfalse
from typing import TYPE_CHECKING, Any

from composer.core.errors import ComposerError
from composer.core.location import Location
from composer.formats.safetensors import Tensor

from ..folder import config_file, optional_config
from ..gguf.tower import read_tower_file
from ..layout import LayoutChecker
from ..rope import DERIVED
from .text_part import TOWERS

if TYPE_CHECKING:
    from composer.formats import Headers

PARTS = (
    *TOWERS, "language_model.", "lm_head.", "embed_tokens", "layers.", "norm.", "per_layer_",
)  # fmt: skip


def open_towers(
    weights: Location, headers: Headers
) -> tuple[Location, Mapping[str, Any], Mapping[str, Tensor]]:
    """Return where the config stands, what it says, and all tensors: a folder's, or a file's."""
    file = config_file(weights)
    if file == weights:
        return file, *read_tower_file(weights, headers)
    return file, optional_config(weights, headers), headers.safetensors(weights)


def own_tensors(
    checker: LayoutChecker, index: Mapping[str, Tensor], tower: str, embed: str, hint: str
) -> dict[str, Tensor]:
    """Return the tensors under two prefixes, without `model.`, which transformers puts before.

    Raise W222 with a hint where there is no tower.
    """
    found: dict[str, Tensor] = {}
    twice, others = [], []
    for name, tensor in index.items():
        short = name.removeprefix("model.")
        if not short.startswith((tower, embed)):
            others.append(short)
            continue
        if short in found:
            twice.append(short)
        found[short] = tensor
    if twice:
        checker.report("W271", "tensors are there twice, with model. before them too", *twice)
    if not any(name.startswith(tower) for name in found):
        checker.report("W222", f"{checker.location} has no {tower}*", hint=hint)
        raise ComposerError(checker.problems)
    checker.refuse_strays(filterfalse(DERIVED.search, others), PARTS)
    return found
