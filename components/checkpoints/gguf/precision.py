"""What a GGUF file is computed in: its blocks stay as they were written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from composer.core.component import Spec
from composer.core.errors import Problem
from composer.formats.gguf import SUFFIX

if TYPE_CHECKING:
    from composer.core.location import Location

COMPUTED = "f32"  # where no precision says otherwise: what blocks are dequantized to


def is_gguf(weights: Location | None) -> bool:
    """Return whether weights are a GGUF file."""
    return weights is not None and weights.inside.endswith(SUFFIX)


def recipe_problem(spec: Spec) -> Problem | None:
    """Refuse to pack a GGUF file again."""
    if spec.recipe is None or not is_gguf(spec.weights):
        return None
    hint = "leave precision out, or give the weights as safetensors"
    return Problem("W246", "a GGUF file is packed as it was written", hint=hint)
