"""The rank and the scale of each module of an adapter, as PEFT's config states them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from .thinker import ROOT, names_of

if TYPE_CHECKING:
    from .pair import LoraPair

N = TypeVar("N", int, float)
PLAIN = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")


@dataclass(frozen=True)
class LoraScaling:
    """Rank and alpha of an adapter; `ranks` and `alphas` are those of single modules.

    A key names a module by its path or by the end of it, and those of a whole Qwen3-ASR by their
    whole names. The scale is alpha / rank, or with `root`
    alpha / sqrt(rank), as PEFT's `use_rslora` has it.
    """

    rank: int
    alpha: float
    root: bool = False
    ranks: Mapping[str, int] = field(default_factory=dict)
    alphas: Mapping[str, float] = field(default_factory=dict)

    def rank_of(self, pair: LoraPair) -> int:
        """Return the rank of a module, such as layers.3.self_attn.q_proj."""
        return _own_value(self.ranks, pair, self.rank)

    def _scale_of(self, pair: LoraPair) -> float:
        """Return what the update of a module is multiplied by."""
        return self._scale(_own_value(self.alphas, pair, self.alpha), self.rank_of(pair))

    def ratio(self, pair: LoraPair) -> float:
        """Return a module's scale as a multiple of the adapter's."""
        return self._scale_of(pair) / self.usual

    @property
    def usual(self) -> float:
        """The scale of modules that have no rank and no alpha of their own."""
        return self._scale(self.alpha, self.rank)

    def ambiguous(self, pair: LoraPair) -> tuple[str, ...]:
        """Return the keys of one pattern that name a module with different values.

        Which of them PEFT takes depends on their order when it was trained, which its file, sorted
        by key, no longer shows.
        """
        for values in (self.ranks, self.alphas):
            keys = _keys(values, pair)
            if len({values[key] for key in keys}) > 1:
                return keys
        return ()

    def _scale(self, alpha: float, rank: int) -> float:
        divisor: float = rank**0.5 if self.root else rank
        return alpha / divisor


def _own_value(values: Mapping[str, N], pair: LoraPair, usual: N) -> N:
    keys = _keys(values, pair)
    return values[keys[0]] if keys else usual


def _keys(values: Mapping[str, N], pair: LoraPair) -> tuple[str, ...]:
    """Return the keys that name a module; those of a whole Qwen3-ASR are whole names."""
    if pair.source.startswith(ROOT):
        exact = [name for name in names_of(pair.source) if name in values]
        return tuple(exact[:1])
    found = []
    for key in values:
        if f".{pair.path}".endswith(f".{layer_path(key)}"):
            found.append(key)
    return tuple(found)


def layer_path(name: str) -> str:
    """Return the name of a module from its layer on, whole where it names none."""
    before, layers, rest = name.partition("layers.")
    return layers + rest or before
