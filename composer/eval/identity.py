"""Say which bundle ran, and how, so that another machine can tell whether it has the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from composer.hub import snapshot_of

if TYPE_CHECKING:
    from composer.bundle import Bundle
    from composer.checker.graph import Graph
    from composer.location import Location

WHOLE = 2**26  # larger files are sampled
PIECE, PIECES = 2**20, 64
PACKAGES = ("bundle-composer", "mlx", "mlx-lm", "onnxruntime", "tokenizers", "librosa", "soxr")


def made_from(
    bundle: Bundle,
    task: str,
    inputs: Mapping[str, Any],
    options: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Return all that hypotheses hang on but the clips, as JSON holds it.

    `inputs` and `options` are those that were given; what the bundle says of others is added.
    """
    graph, known = bundle.checked.graphs[task], bundle.checked.known
    defaults = {
        name: entry.default for name, entry in graph.inputs.items() if entry.type != "audio"
    }
    placed: dict[str, dict[str, Any]] = {}
    for name in graph.components:
        given = bundle.profile.placement(name, known[name].cls.places).given
        precision = known[name].spec.precision
        placed[name] = {**given, **({"precision": precision} if precision else {})}
    return {
        "bundle": identity(bundle, task),
        "task": task,
        "inputs": {name: _plain(value) for name, value in {**defaults, **inputs}.items()},
        "settings": _settings(graph, options),
        "placement": {name: each for name, each in placed.items() if each},
        "versions": versions(),
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
    """Return a value as JSON holds it, an array by its digest."""
    if hasattr(value, "tobytes"):
        return f"{value.dtype} {list(value.shape)} {hashlib.sha256(value.tobytes()).hexdigest()}"
    return list(value) if isinstance(value, tuple) else value


def identity(bundle: Bundle, task: str) -> dict[str, Any]:
    """Return the bundle's name and variant, the digests of its manifest and of its task's files.

    A file of the Hub has the digest that the Hub gives, and its commit. Of another one the bytes
    are hashed: all of them up to 64 MiB; beyond that the size, the first and the last MiB and 62
    evenly between, which is named `sampled`.
    """
    manifest = bundle.checked.manifest
    places: dict[str, Location] = {}
    for name in bundle.checked.graphs[task].components:
        known = bundle.checked.known[name]
        adapters = [adapter.weights for adapter in known.spec.adapters.values()]
        given = [place for place in (known.spec.weights, known.spec.files, *adapters) if place]
        for place in (*known.files, *given):
            if snapshot_of(place) or (place.path and place.path.is_file()):
                places[str(place)] = place
    files = {name: digest(place) for name, place in sorted(places.items())}
    return {
        "name": manifest.name,
        "variant": manifest.variant,
        "manifest": f"sha256:{hashlib.sha256(manifest.path.read_bytes()).hexdigest()}",
        "files": {name: found for name, found in files.items() if found},
    }


def digest(location: Location) -> str | None:
    """Return a digest with its kind before it; None where the place is no file."""
    found = snapshot_of(location)
    if found:
        snapshot, path = found
        file = snapshot.files.get(path)
        if file is None:
            return None
        return f"{file.algorithm}:{file.digest} of {snapshot.repo}@{snapshot.commit}"
    assert location.path is not None
    return digest_of(location.path)


def digest_of(path: Path) -> str:
    """Return the digest of a file, sampled where it is large."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size <= WHOLE:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        seen = hashlib.sha256(str(size).encode())
        for number in range(PIECES):
            file.seek((size - PIECE) * number // (PIECES - 1))
            seen.update(file.read(PIECE))
        return f"sampled:{seen.hexdigest()}"


def versions() -> dict[str, str]:
    """Return the versions of what computes, where it is installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
