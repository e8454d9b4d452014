"""A quantization recipe: which weights of a component are packed, in how many bits, and how."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class QuantizationRule:
    """How the weights that one glob matches are packed."""

    bits: int
    group_size: int
    mode: str = "affine"


@dataclass(frozen=True)
class QuantizationRecipe:
    """How a component's projections are quantized, and the dtype that it computes in.

    Without a dtype it computes in the one that is stored. The globs of a recipe with a `name` are
    for several architectures, and may match nothing, but for those that an author has `added`.
    """

    bits: int
    group_size: int = 64
    rules: Mapping[str, QuantizationRule] = field(default_factory=dict)
    keep: tuple[str, ...] = ()
    mode: str = "affine"
    dtype: str | None = None
    name: str | None = None
    added: tuple[str, ...] = ()

    @property
    def required_globs(self) -> tuple[str, ...]:
        """Return the globs that have to match something."""
        return self.added if self.name else (*self.rules, *self.keep)

    @property
    def title(self) -> str:
        """Return its name, or what it does in a few words."""
        title = self.name
        if not title:
            title = f"{self.bits} bits, {self.mode}, groups of {self.group_size}"
            if self.rules:
                title += f" and {len(self.rules)} rules"
        if self.dtype:
            title += f", in {self.dtype}"
        return title


def precision_json(precision: str | QuantizationRecipe | None) -> Any:
    """Return a precision in JSON's types: of a recipe, what it says."""
    if not isinstance(precision, QuantizationRecipe):
        return precision
    return {**asdict(precision), "keep": list(precision.keep), "added": list(precision.added)}
