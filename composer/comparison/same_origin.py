"""Compare how two runs came about: those that did alike differ by rounding alone."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from composer.manifest.entries import plain_precision
from composer.runtime.provenance import versions

if TYPE_CHECKING:
    from composer.graph.graph import Graph, Node
    from composer.runtime.bundle import Bundle

About = Mapping[str, Any]
CPUS = Path("/proc/cpuinfo")
UNRELATED = ("python",)  # of the versions


def origin(bundle: Bundle, task: str) -> dict[str, Any]:
    """Return how each node of a task comes about here, the machine and the versions."""
    graph, known = bundle.checked.graphs[task], bundle.checked.components
    return {
        "ways": {node.name: _way(bundle, graph, node) for node in graph.nodes.values()},
        "machine": machine(),
        "versions": versions(known[name].cls.__module__ for name in graph.components),
    }


def _way(bundle: Bundle, graph: Graph, node: Node) -> dict[str, Any]:
    if not node.component:
        ports = [graph.values[name].port for name in (*node.wires.values(), *node.outputs.values())]
        return {"run": node.run, "dtypes": [port.dtype if port else None for port in ports]}
    known = bundle.checked.components[node.component]
    placed = bundle.profile.placement(node.component, known.cls.placement_keys).given
    return {
        "run": f"{known.cls.name}.{node.method}",
        "backend": known.backend,
        "dtype": known.facts.dtype if known.facts else None,
        "precision": plain_precision(known.spec.precision),
        "placement": dict(placed),
    }


def machine() -> str:
    """Return the kind of this machine: its system and its processor."""
    lines = CPUS.read_text().splitlines() if CPUS.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return " ".join([platform.system(), platform.machine(), *models[:1]])


def alike(one: About, other: About, node: str | None = None) -> bool:
    """Return whether two runs, or one node of them, came about in the same way.

    Runs that do not say how they came about are not alike.
    """
    for each in (one, other):
        if not isinstance(each.get("ways"), Mapping):
            return False
    if one.get("machine") != other.get("machine") or _versions(one) != _versions(other):
        return False
    ours, theirs = one["ways"], other["ways"]
    if node is None:
        return bool(ours == theirs)
    return node in ours and ours[node] == theirs.get(node)


def _versions(about: About) -> dict[str, Any]:
    found = about.get("versions", {})
    return {name: each for name, each in found.items() if name not in UNRELATED}
