"""Plan a quantization that a bundle asks for, away from what every layer reads."""

from __future__ import annotations

from composer.core.component import Spec
from composer.core.errors import ComposerError, Place, Problem
from composer.core.suggest import some
from composer.formats.quantization import Scheme

from .. import packing
from .checkpoint import TABLE, Decoder
from .lint import low_bit_warnings


def recipe_schemes(spec: Spec, decoder: Decoder) -> tuple[dict[str, Scheme] | None, list[Problem]]:
    """Return which modules a recipe quantizes, None without one, and what to warn of.

    The attention and MLP projections and the experts are what it means; anything else is named by
    a rule. A router keeps 8 bits or more, and the per-layer table stays as it is stored.
    """
    if spec.recipe is None:
        return None, []
    plan, notes = packing.plan(spec.recipe, decoder.checkpoint.tensors, decoder.checkpoint.schemes)
    place = Place(str(decoder.checkpoint.location))
    problems = []
    if TABLE in plan:
        problems.append(
            Problem(
                "W281",
                f"precision quantizes {TABLE}, whose rows are read from their file as stored",
                place,
                hint="name it in no rule; it takes no memory where it is",
            )
        )
    few = []
    for path, scheme in plan.items():
        if path.endswith("router.proj") and scheme.bits < 8:
            few.append(path)
    if few:
        problems.append(
            Problem(
                "W281",
                f"precision gives {plan[few[0]].bits} bits to {some(few, 4)}, which choose "
                "the experts",
                place,
                hint="give routers 8 bits, or none",
            )
        )
    if problems:
        raise ComposerError(problems)
    return plan, [*notes, *low_bit_warnings(plan, place, "precision quantizes")]
