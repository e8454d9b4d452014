"""Compare how two runs came about: those that did alike differ by rounding alone."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from composer.core.quantization_recipe import precision_json
from composer.runtime.provenance import versions

if TYPE_CHECKING:
    from composer.graph.graph import Graph, Node
    from composer.runtime.bundle import Bundle

RunDescription = Mapping[str, Any]
CPUS = Path("/proc/cpuinfo")
PRECISION = ("dtype", "dtypes", "precision")  # keys of how a node comes about
UNRELATED = ("python",)  # of the versions


def how_computed(bundle: Bundle, task: str) -> dict[str, Any]:
    """Return how each node of a task comes about here, the machine and the versions."""
    graph, known = bundle.checked.graphs[task], bundle.checked.components
    return {
        "ways": {node.name: _way(bundle, graph, node) for node in graph.nodes.values()},
        "machine": _machine(),
        "versions": versions(known[name].cls.__module__ for name in graph.components),
    }


def _way(bundle: Bundle, graph: Graph, node: Node) -> dict[str, Any]:
    if not node.component:
        dtypes = []
        for name in (*node.wires.values(), *node.outputs.values()):
            port = graph.values[name].port
            dtypes.append(port.dtype if port else None)
        return {"run": node.run, "dtypes": dtypes}
    known = bundle.checked.components[node.component]
    placed = bundle.profile.placement(node.component, known.cls.placement_keys).given
    return {
        "run": f"{known.cls.name}.{node.method}",
        "backend": known.backend,
        "dtype": known.dtype,
        "precision": precision_json(known.spec.precision),
        "placement": dict(placed),
    }


def _machine() -> str:
    """Return the kind of this machine: its system and its processor."""
    words = [platform.system(), platform.machine()]
    if CPUS.is_file():
        model = re.search(r"^model name.*?:(.*)", CPUS.read_text(), re.MULTILINE)
        if model:
            words.append(model[1].strip())
    return " ".join(words)


def alike(one: RunDescription, other: RunDescription, node: str | None = None) -> bool:
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


def same_precision(one: RunDescription, other: RunDescription, node: str | None = None) -> bool:
    """Return whether two runs, or one node of them, came about in the same precision.

    Runs that do not say how they came about are not known to.
    """
    for each in (one, other):
        if not isinstance(each.get("ways"), Mapping):
            return False
    names = [node] if node else list(one["ways"])
    return all(_precision(one, name) == _precision(other, name) for name in names)


def _precision(about: RunDescription, node: str) -> dict[str, Any]:
    way = about["ways"].get(node, {})
    return {key: way.get(key) for key in PRECISION}


def _versions(about: RunDescription) -> dict[str, Any]:
    found = about.get("versions", {})
    return {name: each for name, each in found.items() if name not in UNRELATED}
