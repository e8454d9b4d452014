"""Which adapters may be on together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from composer.core.errors import ComposerError, Problem
from composer.core.suggest import listed, some, with_nearest
from composer.generation.options import check_unique_adapters

from .adapters import AdapterFacts


def check_selection(names: Sequence[str], adapters: Mapping[str, AdapterFacts]) -> None:
    """Raise ComposerError for an unknown or repeated name, and for DoRA that shares a module."""
    problems = [
        Problem(
            "R560",
            with_nearest(f"there is no adapter '{name}'", name, adapters),
            hint=f"there are: {listed(adapters)}",
        )
        for name in names
        if name not in adapters
    ]
    if problems:
        raise ComposerError(problems)
    check_unique_adapters(names)
    pairs = [pair for name in names for pair in adapters[name].pairs]
    counts = Counter(pair.path for pair in pairs)
    shared = {path for path, count in counts.items() if count > 1}
    if any(pair.magnitude and pair.path in shared for pair in pairs):
        raise ComposerError(
            Problem(
                "R564",
                f"{listed(names)} adapt the same modules, and one of them is DoRA, which "
                f"scales the whole output of a module: {some(sorted(shared))}",
                hint="switch them on one at a time",
            )
        )


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
