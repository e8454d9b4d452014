"""Plan a quantization that a bundle asks for, away from what every layer reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from composer.core.component import Spec
from composer.core.errors import ComposerError, Place, Problem
from composer.core.suggest import some
from composer.formats.quantization import Scheme

from .. import packing
from ..packed_modules import packing_of
from .checkpoint import Gemma4Checkpoint
from .lint import low_bit_warnings

if TYPE_CHECKING:
    from composer.core.location import Location
    from composer.formats import Headers
    from composer.formats.packing import Pack, Packing


def decoder_packing(
    weights: Location,
    headers: Headers,
    decoder: Gemma4Checkpoint,
    recipe: Mapping[str, Scheme],
    pack: Pack,
) -> Packing:
    """Return the modules of a recipe by their stored names, with mlx-lm's names for its config."""
    checkpoint, names = decoder.checkpoint, decoder.names
    return packing_of(weights, headers, checkpoint, names, recipe, pack, _key_in_mlx)


def _key_in_mlx(name: str) -> str:
    """Return what mlx-lm calls a module of a checkpoint of transformers or of its own."""
    if not name.startswith("model.language_model."):
        return name
    return "language_model.model." + name.removeprefix("model.language_model.")


def recipe_schemes(
    spec: Spec, decoder: Gemma4Checkpoint
) -> tuple[dict[str, Scheme] | None, list[Problem]]:
    """Return which modules a recipe quantizes, None without one, and what to warn of.

    The attention and MLP projections and the experts are what it means; anything else is named by
    a rule. A router keeps 8 bits or more. Rows of the per-layer table, where a rule names it, are
    rounded as they are read.
    """
    if spec.recipe is None:
        return None, []
    plan, notes = packing.plan_quantization(
        spec.recipe, decoder.checkpoint.tensors, decoder.checkpoint.schemes
    )
    place = Place(str(decoder.checkpoint.location))
    few = [
        path for path, scheme in plan.items() if path.endswith("router.proj") and scheme.bits < 8
    ]
    if few:
        raise ComposerError(
            Problem(
                "W281",
                f"precision gives {plan[few[0]].bits} bits to {some(few, 4)}, which choose "
                "the experts",
                place,
                hint="give routers 8 bits, or none",
            )
        )
    return plan, [*notes, *low_bit_warnings(plan, place, "precision quantizes")]
