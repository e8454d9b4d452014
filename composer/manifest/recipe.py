"""The keys of a quantization recipe, and the recipe that they are."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Discriminator, Field, Tag, model_validator

from composer.core.quantization_recipe import QuantizationRecipe, QuantizationRule
from composer.formats.quantization import Scheme, scheme_of
from composer.manifest.fields import (
    OTHER,
    TEXT,
    Bits,
    Dtype,
    GroupSize,
    Line,
    Maybe,
    Mode,
    Strict,
    tag_of,
)


class RecipeRuleFields(Strict):
    """How one group of weights is quantized."""

    bits: Maybe[Bits] = Field(None, description="Bits per weight; by default those of the mode.")
    group_size: Maybe[GroupSize] = Field(
        None, description="Weights that share one scale; the recipe's own by default."
    )
    mode: Maybe[Mode] = Field(None, description="The packing; the recipe's own by default.")


class BaseRecipe(Strict):
    """A quantization recipe that names no other."""

    bits: Maybe[Bits] = Field(None, description="Bits per weight wherever no rule says otherwise.")
    group_size: Maybe[GroupSize] = Field(
        None, description="Weights that share one scale: 64 by default, or what the mode has."
    )
    mode: Maybe[Mode] = Field(
        None,
        description="How codes are packed: affine by default, or one of the formats of "
        "microscaling, which have bits and a group size of their own. dynamic is for exported "
        "files: what a product multiplies is rounded to 8 bits too.",
    )
    dtype: Maybe[Dtype] = Field(None, description="What it computes in; as stored by default.")
    rules: dict[
        Line,
        Annotated[
            Annotated[Bits, Tag(TEXT)] | Annotated[RecipeRuleFields, Tag(OTHER)],
            Discriminator(tag_of),
        ],
    ] = Field(
        default={},
        description="Bits for the weights whose name matches a glob; the last match counts.",
        examples=[{"*.self_attn.*": 8, "*.mlp.*": 4}],
    )
    keep: list[Line] = Field(
        default=[],
        description="Globs of weight names that stay as they are stored.",
        examples=[["lm_head", "*.down_proj"]],
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        self.quantization()
        return self

    def quantization(self) -> QuantizationRecipe:
        """Return the recipe; raise ValueError where its numbers fit no packing."""
        if self.bits is None and self.mode is None:
            raise ValueError("it needs bits, or a recipe or mode that has them")
        scheme = scheme_of(self.mode or "affine", self.bits, self.group_size)
        return QuantizationRecipe(
            scheme.bits,
            scheme.group_size,
            self.rules_over(scheme),
            tuple(self.keep),
            scheme.mode,
            self.dtype,
        )

    def rules_over(self, base: Scheme) -> dict[str, QuantizationRule]:
        """Return the rules by glob; what a rule leaves out is the base's, or its own mode's."""
        rules = {}
        for glob, given in self.rules.items():
            rule = given if isinstance(given, RecipeRuleFields) else RecipeRuleFields(bits=given)
            mode = rule.mode or base.mode
            bits: int | None = rule.bits
            size: int | None = rule.group_size
            if mode == base.mode:
                bits, size = bits or base.bits, size or base.group_size
            elif bits is None and mode == "affine":
                raise ValueError(f"the rule '{glob}' needs bits")
            try:
                found = scheme_of(mode, bits, size)
            except ValueError as error:
                raise ValueError(f"the rule '{glob}' has {error}") from None
            rules[glob] = QuantizationRule(found.bits, found.group_size, found.mode)
        return rules
