"""Run a bundle once and keep everything, with what made it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from composer.diff.dump import Dump, Stage, plain, stage_of
from composer.diff.gates import measure

if TYPE_CHECKING:
    from composer.bundle import Bundle
    from composer.checker.graph import Graph
    from composer.run import Result

LIBRARIES = ("bundle-composer", "mlx", "mlx-lm", "onnxruntime", "numpy", "tokenizers", "soxr")


def tap(
    bundle: Bundle,
    task: str,
    inputs: Mapping[str, Any],
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> Dump:
    """Run a task and return every value, as one dump."""
    result = bundle.run(task=task, taps=True, options=options, **inputs)
    return dumped(bundle, task, result, options)


def dumped(
    bundle: Bundle, task: str, result: Result, options: Mapping[str, Mapping[str, Any]] | None
) -> Dump:
    """Return a run that kept every value as a dump."""
    graph = bundle.checked.graphs[task]
    stages = {name: stage(graph, name, result.taps[name]) for name in graph.values}
    about = {
        "bundle": bundle.name,
        "task": task,
        "options": {name: dict(given) for name, given in (options or {}).items()},
        "libraries": libraries(),
    }
    return Dump(stages, about)


def stage(graph: Graph, name: str, value: Any) -> Stage:
    """Describe a value as its port does; a row lies along the last axis of fixed length."""
    port = graph.values[name].port
    if port is None or port.kind != "tensor":
        return stage_of(value, None, (), -1)
    fixed = [axis for axis, dim in enumerate(graph.values[name].dims) if graph.length(dim)]
    along = fixed[-1] if fixed else -1
    return stage_of(value, port.dtype, tuple(map(str, port.dims)), along)


def with_floor(dump: Dump, other: Dump) -> Dump:
    """Return the dump with the noise of each stage: how far another run of it is."""
    return replace(
        dump,
        stages={name: _floor(each, other.stages.get(name)) for name, each in dump.stages.items()},
        about={**dump.about, "floor": dict(other.about)},
    )


def _floor(own: Stage, other: Stage | None) -> Stage:
    want, have = plain(own.value), plain(other.value) if other else ""
    if isinstance(want, str) or isinstance(have, str) or want.shape != have.shape:
        return own
    if want.dtype.kind != "f" or not want.size:
        return own
    return replace(own, floor=measure(have, want, own.along))


def libraries() -> dict[str, str]:
    """Return the versions of Python and of the libraries that compute."""
    found = {"python": sys.version.split()[0]}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
