"""Refuse names that a task does not have."""

from __future__ import annotations

from collections.abc import Iterable

from composer.core.errors import Problem
from composer.core.suggest import did_you_mean, listed


def unknown_name_problems(verb: str, names: Iterable[str], known: Iterable[str]) -> list[Problem]:
    """Return a problem for each name that is not known, with the nearest or all there are."""
    known = list(known)
    found: list[Problem] = []
    for name in names:
        if name not in known:
            found.append(
                Problem(
                    "R544",
                    f"cannot {verb} '{name}': there is no such name",
                    hint=did_you_mean(str(name), known) or f"there are: {listed(known)}",
                )
            )
    return found
