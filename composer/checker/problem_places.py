"""Give problems in a component's files a place in the manifest."""

from __future__ import annotations

from dataclasses import replace

from composer.core.component import Spec
from composer.core.errors import Problem
from composer.core.location import Location
from composer.manifest import Manifest


def with_manifest_place(manifest: Manifest, spec: Spec, problem: Problem) -> Problem:
    """Return a problem in a file or a setting with its place in the manifest."""
    where = problem.place.file if problem.place else ""
    places: dict[tuple[str, ...], Location | None] = {}
    for name, adapter in spec.adapters.items():
        places["adapters", name, "weights"] = adapter.weights
    places["files",] = spec.files
    places["weights",] = spec.weights
    keys: tuple[str, ...] = ("weights",)
    longest = 0
    for candidate, place in places.items():
        inside = place and f"{where}/".startswith(f"{_folder(place)}/")
        if inside and len(str(place)) > longest:
            keys, longest = candidate, len(str(place))
    if where.startswith("config."):
        keys = tuple(where.split("."))
        problem = replace(problem, place=None)
    at = manifest.place("components", spec.name, *keys)
    return replace(_with_file(problem), place=at)


def _folder(place: Location) -> str:
    """Return the prefix of a location's files: a file is read with those beside it."""
    if place.inside.endswith(".safetensors"):
        return str(place).rpartition("/")[0]
    return str(place)


def _with_file(problem: Problem) -> Problem:
    """Put the file of a problem into its message, unless it begins with it."""
    if problem.place is None or problem.message.startswith(problem.place.file):
        return problem
    return replace(problem, message=f"{problem.place}: {problem.message}")
