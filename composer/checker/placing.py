"""Give what a component finds in its files a place in the manifest."""

from __future__ import annotations

from dataclasses import replace

from composer.core.component import Spec
from composer.core.errors import Problem
from composer.core.location import Location
from composer.manifest import Manifest


def placed(manifest: Manifest, spec: Spec, problem: Problem) -> Problem:
    """Give a problem of a file, or of a knob, its place in the manifest."""
    where = problem.place.file if problem.place else ""
    homes: dict[tuple[str, ...], Location | None] = {
        **{("adapters", k, "weights"): a.weights for k, a in spec.adapters.items()},
        ("files",): spec.files,
        ("weights",): spec.weights,
    }
    inside = [
        keys for keys, home in homes.items() if home and f"{where}/".startswith(f"{_folder(home)}/")
    ]
    keys = max(inside, key=lambda keys: len(str(homes[keys])), default=("weights",))
    if where.startswith("config."):
        keys = tuple(where.split("."))
        problem = replace(problem, place=None)
    place = manifest.place("components", spec.name, *keys)
    return replace(_with_file(problem), place=place)


def _folder(home: Location) -> str:
    """Return what the files of a location begin with: a file is read with those beside it."""
    return str(home).rpartition("/")[0] if home.inside.endswith(".safetensors") else str(home)


def _with_file(problem: Problem) -> Problem:
    """Put the file of a problem into its message, unless it begins with it."""
    if problem.place is None or problem.message.startswith(problem.place.file):
        return problem
    return replace(problem, message=f"{problem.place}: {problem.message}")
