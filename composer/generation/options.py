"""The options of `generate`, which are the same for every decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field

from composer.core.errors import ComposerError, Problem
from composer.core.suggest import listed
from composer.generation.sampler import Sampling

TokenOrId = int | str


@dataclass(frozen=True)
class GenerationOptions:
    """How a decoder continues a prompt; raise ComposerError where options contradict each other."""

    max_tokens: Annotated[
        int, Field(ge=1, le=1_000_000, description="How many tokens may follow.")
    ] = 256
    temperature: Annotated[float, Field(ge=0, le=100, description="0 takes the likeliest.")] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1, description="1 keeps every probability.")] = 1.0
    top_k: Annotated[int, Field(ge=0, description="0 keeps every token.")] = 0
    seed: Annotated[int, Field(ge=0, description="The same seed draws the same tokens.")] = 0
    stop: Annotated[
        tuple[TokenOrId, ...],
        Field(description="Ids, or tokens by their text, that end a text as the model's own do."),
    ] = ()
    reasoning: Annotated[
        tuple[TokenOrId, TokenOrId] | None,
        Field(description="Two tokens: what stands between them is no part of the text."),
    ] = None
    reuse_cache: Annotated[
        bool, Field(description="Keep the KV cache for a run that begins with the same rows.")
    ] = False

    def __post_init__(self) -> None:
        assert self.sampling

    @cached_property
    def sampling(self) -> Sampling:
        """Return how tokens are chosen."""
        return Sampling(self.temperature, self.top_p, self.top_k, self.seed)


def validate_generation(method: str, options: Mapping[str, Any]) -> None:
    """Raise ComposerError where the options of one call of a decoder contradict each other."""
    once(options.get("adapters", ()))
    if method == "generate":
        GenerationOptions(**{each.name: options[each.name] for each in fields(GenerationOptions)})


def once(names: Sequence[str]) -> None:
    """Raise ComposerError for an adapter that is switched on twice."""
    if len({*names}) < len(names):
        message = f"an adapter is switched on twice: {listed(names)}"
        raise ComposerError(Problem("R561", message, hint="its scale says how much it counts"))
