"""Describe a run, so that two results can be compared with what produced them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from platform import python_version
from typing import TYPE_CHECKING, Any

from composer.core import registry
from composer.graph.files import files_of
from composer.manifest.entries import plain_precision
from composer.sources.lock.digests import hub_file, sha256_of

if TYPE_CHECKING:
    from composer.core.location import Location
    from composer.graph.graph import Graph
    from composer.runtime.bundle import Bundle

PACKAGES = ("bundle-composer", "tokenizers", "librosa", "soxr", "soundfile")


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
    defaults = {
        name: entry.default for name, entry in graph.inputs.items() if entry.type != "audio"
    }
    placed: dict[str, dict[str, Any]] = {}
    for name in graph.components:
        given = bundle.profile.placement(name, known[name].cls.placement_keys).given
        precision = plain_precision(known[name].spec.precision)
        chosen = {"backend": known[name].backend} if known[name].is_family else {}
        placed[name] = {**chosen, **given, **({"precision": precision} if precision else {})}
    return {
        "bundle": identity(bundle, task),
        "task": task,
        "inputs": {name: _plain(value) for name, value in {**defaults, **inputs}.items()},
        "settings": _settings(graph, options),
        "placement": {name: each for name, each in placed.items() if each},
        "versions": versions(known[name].cls.__module__ for name in graph.components),
    }


def _settings(graph: Graph, given: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the options that each decoder runs with, defaults included."""
    found = {}
    for name, node in graph.nodes.items():
        if node.signature and (node.signature.streams or name in given):
            defaults = {key: option.default for key, option in node.signature.options.items()}
            options = {**defaults, **node.options, **given.get(name, {})}
            found[name] = {key: _plain(value) for key, value in options.items()}
    return found


def _plain(value: Any) -> Any:
    """Return a value in JSON types, an array as its digest."""
    if hasattr(value, "tobytes"):
        return f"{value.dtype} {list(value.shape)} {_sha256(value.tobytes())}"
    return list(value) if isinstance(value, tuple) else value


def identity(bundle: Bundle, task: str) -> dict[str, Any]:
    """Return the bundle's name and variant, and the digests of its manifest and its task's files.

    `lock` is the digest of the lock that it was checked against, or None.
    """
    checked = bundle.checked
    components = [checked.components[name] for name in checked.graphs[task].components]
    places = {}
    for known in components:
        for place in files_of(known):
            places[str(place)] = place
    return {
        "name": checked.manifest.name,
        "variant": checked.manifest.variant,
        "manifest": _sha256(checked.manifest.path.read_bytes()),
        "lock": _sha256(checked.lock.bytes) if checked.lock else None,
        "files": {name: digest(place) for name, place in sorted(places.items())},
    }


def digest(location: Location) -> str:
    """Return a file's digest with its algorithm: sha256, or git's for small files of the Hub."""
    listed = hub_file(location)
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
    tops = {module.partition(".")[0] for module in modules} - {"composer"}
    others = packages_distributions() if tops else {}
    own = [name for each in registry.working_backends() for name in each.packages]
    theirs = sorted({name for top in tops for name in others.get(top, ())})
    for name in (*PACKAGES, *own, *theirs):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
