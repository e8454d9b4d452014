"""Find components and backends: installed entry points, and nothing a manifest can name besides."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from composer.core.backend import Backend
from composer.core.component import Component
from composer.core.portable import Portable

COMPONENTS = "composer.components"
FAMILIES = "composer.families"
BACKENDS = "composer.backends"

_added: dict[str, type[Component]] = {}


@cache
def _entries(group: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=group)}


def add(component: type[Component]) -> type[Component]:
    """Register a component of this process, as a test or a notebook does."""
    _added[component.name] = component
    return component


def remove(name: str) -> None:
    """Take back what `add` registered."""
    _added.pop(name, None)


def names() -> list[str]:
    """Return the name of every kind of component there is."""
    portable = {f"{each}.{family}" for each in backends() for family in _entries(FAMILIES)}
    return sorted({*_entries(COMPONENTS), *portable, *_added})


def backends() -> list[str]:
    """Return the name of every backend there is."""
    return sorted(_entries(BACKENDS))


def family(name: str) -> dict[str, str]:
    """Return the kinds that a family's name stands for, by backend: lm is mlx.lm and onnx.lm."""
    kinds = {backend: f"{backend}.{name}" for backend in backends()}
    return {backend: kind for backend, kind in kinds.items() if kind in names()}


def uses() -> list[str]:
    """Return what a manifest may say under `use`: families, and kinds that are of no backend."""
    found = set()
    for name in names():
        backend, _, family = name.partition(".")
        found.add(family if backend in backends() else name)
    return sorted(found)


def component(name: str) -> type[Component]:
    """Return a component's class; raise KeyError when there is none."""
    if name in _added:
        return _added[name]
    if name not in _entries(COMPONENTS):
        return _bound(*name.split(".", 1))
    loaded: Any = _entries(COMPONENTS)[name].load()
    if loaded.name != name:
        raise ValueError(f"its entry point is named {name}, its class {loaded.name}")
    return loaded  # type: ignore[no-any-return]


@cache
def _bound(backend_name: str, family: str) -> type[Component]:
    """Return a family that runs on any backend as a kind of one."""
    portable: type[Portable] = _entries(FAMILIES)[family].load()
    return portable.on(backend(backend_name))


@cache
def backend(name: str) -> Backend:
    """Return an array library's backend; raise KeyError when there is none."""
    made: Backend = _entries(BACKENDS)[name].load()()
    return made
