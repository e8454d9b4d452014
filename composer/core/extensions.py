"""Find what installed packages add: entry points, by group and name, loaded when first used."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any


@cache
def _installed() -> Any:
    """Return all entry points: finding them reads a file of every package that is installed."""
    return entry_points()


@cache
def _entries(group: str) -> dict[str, dict[str, EntryPoint]]:
    """Return the entry points of a group by name and object; one name should mean one object."""
    found: dict[str, dict[str, EntryPoint]] = {}
    for entry in _installed().select(group=group):
        found.setdefault(entry.name, {})[entry.value] = entry
    return found


def extensions(group: str) -> list[str]:
    """Return the names of a group."""
    return sorted(_entries(group))


@cache
def extension(group: str, name: str) -> Any:
    """Return the object that is installed under a name, which is its own name too.

    Raise KeyError if there is none, and what its package raises if it cannot be imported.
    """
    entries = _entries(group)[name]
    if len(entries) > 1:
        raise ValueError(f"several packages provide it: {', '.join(sorted(entries))}")
    loaded = next(iter(entries.values())).load()
    if loaded.name != name:
        raise ValueError(f"its entry point is named {name}, and it itself {loaded.name}")
    return loaded


def distribution_of(group: str, name: str) -> tuple[str, str] | None:
    """Return the package that provides a name, and its version; None if there is not just one."""
    entries = list(_entries(group).get(name, {}).values())
    if len(entries) != 1 or entries[0].dist is None:
        return None
    return entries[0].dist.name, entries[0].dist.version


def forget_extensions() -> None:
    """Look again at what is installed when it is asked for next."""
    _installed.cache_clear()
    _entries.cache_clear()
    extension.cache_clear()
