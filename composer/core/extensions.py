"""Find what installed packages add: entry points, by group and name, loaded when first used."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any


@cache
def _entries(group: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=group)}


def extensions(group: str) -> list[str]:
    """Return the names of a group."""
    return sorted(_entries(group))


@cache
def extension(group: str, name: str) -> Any:
    """Return what is installed under a name, which it has itself; raise KeyError for none."""
    loaded = _entries(group)[name].load()
    if loaded.name != name:
        raise ValueError(f"its entry point is named {name}, and it itself {loaded.name}")
    return loaded


def forget_extensions() -> None:
    """Look again at what is installed when it is asked for next."""
    _entries.cache_clear()
    extension.cache_clear()
