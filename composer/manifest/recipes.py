"""Quantization recipes by name, and what a user asks a component to run in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from composer.core.quantization_recipe import QuantizationRecipe, QuantizationRule
from composer.core.suggest import did_you_mean, listed
from composer.manifest.fields import Dtype, Line
from composer.manifest.recipe import BaseRecipe
from composer.manifest.source import read_document_file

DTYPES: tuple[str, ...] = get_args(Dtype)
STORED = "stored"
FILE = Path(__file__).with_name("recipes.yaml")


class RecipeModel(BaseRecipe):
    """A recipe of the file, with what it does."""

    summary: Line


@dataclass(frozen=True)
class RecipeInfo:
    """A recipe that has a name, and what it does in one line."""

    summary: str
    quantization: QuantizationRecipe


@cache
def recipes() -> Mapping[str, RecipeInfo]:
    """Return the recipes of the file by name."""
    found = {}
    for name, data in read_document_file(FILE).data.items():
        model = RecipeModel.model_validate(data)
        found[name] = RecipeInfo(model.summary, replace(model.quantization(), name=name))
    return found


if TYPE_CHECKING:
    RecipeName = str
    PrecisionName = str
else:
    RecipeName = Literal[tuple(recipes())]
    PrecisionName = Literal[(*DTYPES, *recipes())]


@dataclass(frozen=True)
class PrecisionChange:
    """What a user asks for: a recipe, or none where weights stay as `stored`, and a dtype.

    What is None, or not stored, is left to the manifest.
    """

    recipe: QuantizationRecipe | None = None
    dtype: str | None = None
    stored: bool = False

    def over(self, base: PrecisionChange) -> PrecisionChange:
        """Return this, with what it leaves open taken from another."""
        kept = self.recipe is not None or self.stored
        found = self if kept else base
        return PrecisionChange(found.recipe, self.dtype or base.dtype, found.stored)

    def applied(self, base: str | QuantizationRecipe | None) -> str | QuantizationRecipe | None:
        """Return the precision of a component of which the manifest says `base`."""
        if isinstance(base, QuantizationRecipe):
            whole = self.over(PrecisionChange(base, base.dtype))
        else:
            whole = self.over(PrecisionChange(None, base))
        if whole.recipe is None:
            return whole.dtype
        return replace(whole.recipe, dtype=whole.dtype or whole.recipe.dtype)

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> PrecisionChange:
        """Return what `asdict` made of one."""
        recipe = data["recipe"]
        if recipe is not None:
            rules = {glob: QuantizationRule(**rule) for glob, rule in recipe["rules"].items()}
            globs = {key: tuple(recipe[key]) for key in ("keep", "added")}
            recipe = QuantizationRecipe(**{**recipe, **globs, "rules": rules})
        return cls(recipe, data["dtype"], data["stored"])

    def with_word(self, word: str) -> PrecisionChange:
        """Return this with a dtype, a recipe by its name, or `stored`; raise ValueError if not."""
        if word in DTYPES and self.dtype is None:
            return replace(self, dtype=word)
        if self.recipe is None and not self.stored:
            if word == STORED:
                return replace(self, stored=True)
            if word in recipes():
                return replace(self, recipe=recipes()[word].quantization)
        options = (*DTYPES, STORED, *recipes())
        if word in options:
            raise ValueError(f"'{word}' is one too many: give a recipe, a dtype, or one of each")
        near = did_you_mean(word, options)
        raise ValueError(
            f"'{word}' is neither a dtype nor a recipe; " + (near or f"there are {listed(options)}")
        )
