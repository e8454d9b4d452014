"""Choose which backend runs a component that names a family: `lm` is `mlx.lm` or `onnx.lm`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter

from composer.core import registry

ALL = "*"  # the key under which a choice is made for every component


@dataclass(frozen=True)
class Candidate:
    """A kind that could run a component, and the reason to choose it."""

    kind: str
    reason: str


def candidates(use: str, component: str, backends: Mapping[str, str]) -> list[Candidate]:
    """Return the kinds that `use` may mean, best first; none if there is no such kind.

    `backends` are the user's choices by component, or for all under `ALL`. A choice by name pins
    the backend, one for all pins it for every family that has it; others are ordered by what suits
    this machine. A `use` that names its backend is the only candidate.
    """
    if use in registry.component_names():
        return [Candidate(use, "the manifest names it")]
    family = registry.family_kinds(use)
    requested = backends.get(component) or backends.get(ALL)
    if requested in family:
        return [Candidate(family[requested], "asked for")]
    if component in backends:
        return []
    ranked = []
    for backend in registry.working_backends():
        if backend.name in family:
            rank, reason = backend.suitability()
            ranked.append((rank, Candidate(family[backend.name], reason)))
    ranked.sort(key=itemgetter(0), reverse=True)
    if ranked:
        return [candidate for _, candidate in ranked]
    return [Candidate(kind, "nothing else runs it") for kind in family.values()]
