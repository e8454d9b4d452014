"""The settings of a Gemma-4 decoder, each with where it was read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

FULL, SLIDING = "full_attention", "sliding_attention"


class SizeWithSource(NamedTuple):
    """A length that the config or a tensor says, and in what words."""

    value: int
    label: str

    def __mul__(self, other: SizeWithSource) -> SizeWithSource:  # type: ignore[override]
        return SizeWithSource(self.value * other.value, f"{self.label} x {other.label}")


@dataclass(frozen=True)
class LayerSettings:
    """One layer's attention and MLP; one that `shares_kv` keeps no keys and values of its own."""

    kind: str
    head_dim: SizeWithSource
    kv_heads: SizeWithSource
    width: SizeWithSource
    shares_kv: bool

    @property
    def full(self) -> bool:
        return self.kind == FULL


@dataclass(frozen=True)
class Gemma4Settings:
    """A decoder's sizes; `per_layer` is 0 wide where there are no per-layer inputs.

    Where it is `bidirectional`, the rows of a picture see each other in sliding layers. `args` are
    those of mlx-lm's ModelArgs, every one given, so that none of its defaults counts.
    """

    hidden: SizeWithSource
    vocabulary: SizeWithSource
    heads: SizeWithSource
    layers: tuple[LayerSettings, ...]
    per_layer: SizeWithSource
    keys_are_values: bool
    experts: tuple[SizeWithSource, SizeWithSource] | None
    bidirectional: bool
    args: Mapping[str, Any]
