"""Read what a user asks a component to run in: a text, or a recipe."""

from __future__ import annotations

from pydantic import ValidationError

from composer.core.errors import ComposerError
from composer.core.quantization_recipe import QuantizationRecipe, QuantizationRule
from composer.core.suggest import listed
from composer.formats.quantization import SCHEMES, scheme_of
from composer.manifest.fields import Strict
from composer.manifest.format import Recipe
from composer.manifest.recipes import DTYPES, PrecisionChange
from composer.manifest.tree import ManifestProblems, build_tree
from composer.manifest.validation_faults import validation_faults
from composer.manifest.yaml_events import yaml_events

PrecisionRequest = str | QuantizationRecipe | PrecisionChange


class _Asked(Strict):
    """What stands in braces, under the name that messages have for it."""

    precision: Recipe


def read_precision(given: PrecisionRequest) -> PrecisionChange:
    """Return what a text or a recipe asks for; raise ValueError for one that cannot be meant.

    A text is a dtype, a recipe's name, `stored`, a dtype beside one of those after a comma, or a
    recipe in braces as in a manifest.
    """
    if isinstance(given, PrecisionChange):
        return given
    if isinstance(given, QuantizationRecipe):
        _require_packing(given)
        return PrecisionChange(given, given.dtype)
    if not isinstance(given, str):
        raise ValueError(f"{given!r} is neither a text nor a recipe")
    if given.lstrip().startswith("{"):
        recipe = _recipe_in_braces(given)
        return PrecisionChange(recipe, recipe.dtype)
    found = PrecisionChange()
    for part in given.split(","):
        found = found.with_word(part.strip())
    return found


def _require_packing(recipe: QuantizationRecipe) -> None:
    """Refuse numbers that no packing has; what Python makes is not read from a manifest."""
    if recipe.dtype is not None and recipe.dtype not in DTYPES:
        raise ValueError(f"the dtype '{recipe.dtype}'; expected one of {', '.join(DTYPES)}")
    for glob, each in {"": recipe, **recipe.rules}.items():
        about = f"the rule '{glob}' has " if glob else ""
        if not isinstance(each, QuantizationRecipe | QuantizationRule):
            raise ValueError(f"{about}{each!r}; write QuantizationRule(bits, group_size)")
        if each.mode not in SCHEMES:
            raise ValueError(f"{about}the mode '{each.mode}'; there are {listed(SCHEMES)}")
        try:
            scheme_of(each.mode, each.bits, each.group_size)
        except ValueError as error:
            raise ValueError(f"{about}{error}") from None


def _recipe_in_braces(text: str) -> QuantizationRecipe:
    report = ManifestProblems("")
    try:
        tree = build_tree(yaml_events(text, report), report)
        if report.problems:
            raise ComposerError(report.problems)
    except ComposerError as error:
        raise ValueError(error.problems[0].message) from None
    assert tree is not None
    try:
        return _Asked.model_validate({"precision": tree[0]}).precision.quantization()
    except ValidationError as error:
        fault = next(iter(validation_faults(error, _Asked)))
    raise ValueError("; ".join(filter(None, (fault.message, fault.hint))))
