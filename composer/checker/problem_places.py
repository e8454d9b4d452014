"""Give problems in a component's files a place in the manifest."""

from __future__ import annotations

from dataclasses import replace

from composer.core.component import Spec
from composer.core.errors import Problem
from composer.core.location import Location
from composer.manifest import Manifest


def placed(manifest: Manifest, spec: Spec, problem: Problem) -> Problem:
    """Return a problem in a file or a setting with its place in the manifest."""
    where = problem.place.file if problem.place else ""
    places: dict[tuple[str, ...], Location | None] = {
        **{("adapters", k, "weights"): a.weights for k, a in spec.adapters.items()},
        ("files",): spec.files,
        ("weights",): spec.weights,
    }
    inside = [
        keys
        for keys, place in places.items()
        if place and f"{where}/".startswith(f"{_folder(place)}/")
    ]
    keys = max(inside, key=lambda keys: len(str(places[keys])), default=("weights",))
    if where.startswith("config."):
        keys = tuple(where.split("."))
        problem = replace(problem, place=None)
    place = manifest.place("components", spec.name, *keys)
    return replace(_with_file(problem), place=place)


def _folder(place: Location) -> str:
    """Return the prefix of a location's files: a file is read with those beside it."""
    return str(place).rpartition("/")[0] if place.inside.endswith(".safetensors") else str(place)


def _with_file(problem: Problem) -> Problem:
    """Put the file of a problem into its message, unless it begins with it."""
    if problem.place is None or problem.message.startswith(problem.place.file):
        return problem
    return replace(problem, message=f"{problem.place}: {problem.message}")
