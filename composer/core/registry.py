"""Find components, backends and operators: installed ones, and nothing a manifest can name else."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal, get_args, get_origin

from composer.core.backend import Backend
from composer.core.component import Component
from composer.core.extensions import (
    distribution_of,
    extension,
    extensions,
    forget_extensions,
)
from composer.core.family import Family
from composer.core.operator import Operator
from composer.core.placement import CACHE, HOST, PREPARED, TABLES, PlacementKey
from composer.core.suggest import with_nearest

COMPONENTS = "composer.components"
FAMILIES = "composer.families"
BACKENDS = "composer.backends"
OPERATORS = "composer.operators"

_added: dict[str, type[Component]] = {}


def register_component(component: type[Component]) -> type[Component]:
    """Register a component of this process, as a test or a notebook does."""
    _added[component.name] = component
    return component


def unregister_component(name: str) -> None:
    """Take back what `add` registered."""
    _added.pop(name, None)


def rediscover() -> None:
    """Look again at what is installed, as after a package was installed meanwhile."""
    forget_extensions()
    for cached in (_bound, backend, working_backends, _array_backends):
        cached.cache_clear()


def component_names() -> list[str]:
    """Return the name of every kind of component there is."""
    portable = set()
    for each in backend_names():
        for family in extensions(FAMILIES):
            portable.add(f"{each}.{family}")
    return sorted({*extensions(COMPONENTS), *portable, *_added})


def backend_names() -> list[str]:
    """Return the name of every backend there is."""
    return extensions(BACKENDS)


@cache
def working_backends() -> tuple[Backend, ...]:
    """Return the backends that can be imported; `composer doctor` says why another cannot."""
    found = []
    for name in backend_names():
        try:
            found.append(backend(name))
        except Exception:  # somebody's package is broken, whichever way, and may not be needed
            continue
    return tuple(found)


def distribution(name: str) -> tuple[str, str] | None:
    """Return the package, and its version, that provides a kind, a family or an operator."""
    backend_name, _, family_name = name.partition(".")
    bare = family_name if backend_name in backend_names() else name
    for group, entry in ((COMPONENTS, name), (FAMILIES, bare), (OPERATORS, name)):
        found = distribution_of(group, entry)
        if found:
            return found
    return None


def operator_names() -> list[str]:
    """Return the name of every operator there is."""
    return extensions(OPERATORS)


def family_kinds(name: str) -> dict[str, str]:
    """Return the kinds that a family's name stands for, by backend: lm is mlx.lm and onnx.lm."""
    found = {}
    for backend in backend_names():
        kind = f"{backend}.{name}"
        if kind in component_names():
            found[backend] = kind
    return found


def unknown_kind(use: str) -> tuple[str, list[str]]:
    """Return what to say of a `use` that is no kind, and the kinds to choose from."""
    message, names = f"there is no component kind '{use}'", component_names()
    first = use.partition(".")[0]
    alike = [name for name in names if name.startswith(f"{first}.")]
    if use != first or not alike:
        message = with_nearest(message, use, [*names, *use_names()])
    return message, alike or use_names()


def use_names() -> list[str]:
    """Return what a manifest may say under `use`: families, and kinds that are of no backend."""
    found = set()
    for name in component_names():
        backend, _, family = name.partition(".")
        found.add(family if backend in backend_names() else name)
    return sorted(found)


def component(name: str) -> type[Component]:
    """Return a component's class; raise KeyError when there is none."""
    if name in _added:
        return _added[name]
    if name not in extensions(COMPONENTS):
        return _bound(*name.split(".", 1))
    loaded: type[Component] = extension(COMPONENTS, name)
    return loaded


@cache
def _bound(backend_name: str, family: str) -> type[Component]:
    """Return a family that runs on any backend as a kind of one."""
    portable: type[Family] = extension(FAMILIES, family)
    return portable.on(backend(backend_name))


@cache
def backend(name: str) -> Backend:
    """Return an array library's backend; raise KeyError when there is none."""
    made: Backend = extension(BACKENDS, name)()
    return made


def operator(name: str) -> Operator:
    """Return an operator; raise KeyError when there is none."""
    loaded: Operator = extension(OPERATORS, name)
    return loaded


def backend_of(value: Any) -> Backend:
    """Return the backend of an array; raise TypeError for what is no array of any."""
    owners = _array_backends()
    for cls in type(value).__mro__:
        name = owners.get(f"{cls.__module__}.{cls.__qualname__}")
        if name:
            return backend(name)
    raise TypeError(f"{type(value).__name__} is no array of any backend here")


@cache
def _array_backends() -> dict[str, str]:
    """Return the backends by the qualified name of the arrays that they compute with."""
    own = (each for each in working_backends() if each.arrays == each.name)
    return {each.array_type: each.name for each in own}


def placement_keys() -> dict[str, PlacementKey]:
    """Return what a placement may say: the keys of every backend, and the core's own.

    Where several backends declare a key, its choices are those of all of them.
    """
    found: dict[str, PlacementKey] = {}
    keys = [key for each in working_backends() for key in each.placement]
    for key in (*keys, TABLES, CACHE, PREPARED):
        found[key.name] = _joined(found.get(key.name, key), key)
    return found


def _joined(first: PlacementKey, second: PlacementKey) -> PlacementKey:
    if first.type == second.type:
        return first
    if {get_origin(first.type), get_origin(second.type)} != {Literal}:
        raise TypeError(f"two backends declare the placement key '{first.name}' differently")
    choices = dict.fromkeys((*get_args(first.type), *get_args(second.type)))
    summary = f"{first.summary} {second.summary}"
    return PlacementKey(first.name, Literal[tuple(choices)], summary, first.text)


def operator_backend(name: str, first: str) -> str:
    """Return where an operator runs whose first input lives in the backend `first`."""
    if name in backend(first).operators:
        return first
    return HOST
