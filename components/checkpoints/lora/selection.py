"""Which adapters may be on together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from composer.core.errors import ComposerError, Problem
from composer.core.problems import Problems
from composer.core.suggest import listed, some, with_nearest
from composer.generation.options import check_unique_adapters

from .adapters import AdapterFacts


def check_selected_adapters(names: Sequence[str], adapters: Mapping[str, AdapterFacts]) -> None:
    """Raise ComposerError for an unknown or repeated name, and for what does not add up."""
    problems = Problems()
    for name in names:
        if name not in adapters:
            message = with_nearest(f"there is no adapter '{name}'", name, adapters)
            problems.report("R560", message, hint=f"there are: {listed(adapters)}")
    problems.raise_any()
    check_unique_adapters(names)
    counts = Counter[str]()
    for name in names:
        counts.update(adapters[name].paths)
    shared = {path for path, count in counts.items() if count > 1}
    for name in names:
        dora = {pair.path for pair in adapters[name].pairs if pair.magnitude}
        whole = {module.path for module in adapters[name].saved}
        _require_disjoint(
            names, shared & dora, "is DoRA, which scales the whole output of a module"
        )
        what = "holds the whole module, which takes the place of the other's"
        _require_disjoint(names, shared & whole, what)


def _require_disjoint(names: Sequence[str], paths: set[str], what: str) -> None:
    if paths:
        message = f"{listed(names)} adapt the same modules, and one of them {what}"
        hint = "switch them on one at a time"
        raise ComposerError(Problem("R564", f"{message}: {some(sorted(paths))}", hint=hint))


def require_finite(name: str, odd: Sequence[str]) -> None:
    """Raise ComposerError where an adapter has modules with numbers that are not finite."""
    if odd:
        raise ComposerError(
            Problem(
                "R562",
                f"the adapter '{name}' has numbers that are not finite, in {some(list(odd))}",
                hint="its training diverged, or the file is damaged",
            )
        )
