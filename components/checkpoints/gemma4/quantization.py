"""Plan a quantization that a bundle asks for, away from what every layer reads."""

from __future__ import annotations

from composer.core.component import Spec
from composer.core.errors import ComposerError, Place, Problem
from composer.core.suggest import some
from composer.formats.quantization import Scheme

from .. import packing
from .checkpoint import Decoder
from .lint import low_bit_warnings


def recipe_schemes(spec: Spec, decoder: Decoder) -> tuple[dict[str, Scheme] | None, list[Problem]]:
    """Return which modules a recipe quantizes, None without one, and what to warn of.

    The attention and MLP projections and the experts are what it means; anything else is named by
    a rule. A router keeps 8 bits or more. Rows of the per-layer table, where a rule names it, are
    rounded as they are read.
    """
    if spec.recipe is None:
        return None, []
    plan, notes = packing.plan(spec.recipe, decoder.checkpoint.tensors, decoder.checkpoint.schemes)
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
