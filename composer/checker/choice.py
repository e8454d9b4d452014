"""Choose which backend runs a component that names a family: `lm` is `mlx.lm` or `onnx.lm`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from composer.core import registry

ALL = "*"  # the key under which a choice is made for every component


@dataclass(frozen=True)
class Candidate:
    """A kind that could run a component, and why it would be taken."""

    kind: str
    reason: str


def candidates(use: str, component: str, backends: Mapping[str, str]) -> list[Candidate]:
    """Return the kinds that `use` may stand for, best first; none where there is no such kind.

    `backends` are the user's choices by component, or for all under `ALL`. One by name pins the
    backend, one for all pins it for every family that has it; the rest is ordered by what suits
    this machine. A `use` that names its backend is its own only candidate.
    """
    if use in registry.names():
        return [Candidate(use, "the manifest names it")]
    family = registry.family(use)
    asked = backends.get(component) or backends.get(ALL)
    if asked in family:
        return [Candidate(family[asked], "asked for")]
    if component in backends:
        return []
    suited = {name: registry.backend(name).suits() for name in family}
    ranked = sorted(suited, key=lambda name: suited[name][0], reverse=True)
    return [Candidate(family[name], suited[name][1]) for name in ranked]
