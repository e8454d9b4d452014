"""Nodes that a task has from the one that it is like: whose problem is it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from composer.core.errors import Problem

if TYPE_CHECKING:
    from composer.manifest import Manifest, Task


def origin_of(manifest: Manifest, task: Task, at: tuple[str | int, ...]) -> tuple[str, ...]:
    """Return a cause where what a task has at `at` is written in another one, which it is like."""
    if at[:1] != ("graph",) or len(at) < 2:
        return ()
    place = manifest.place(*task.at, *at[:2], key=True)
    for other in manifest.tasks.values():
        if other.name == task.name:
            break
        if at[1] in other.graph and manifest.place(*other.at, *at[:2], key=True) == place:
            return (f"in the task '{task.name}', which is like '{other.name}'",)
    return ()


def not_yet_found(found: Iterable[Problem], known: Iterable[Problem]) -> list[Problem]:
    """Return the problems that no task before has at the same place."""
    before = {(each.code, each.message, each.place) for each in known}
    return [each for each in found if (each.code, each.message, each.place) not in before]
