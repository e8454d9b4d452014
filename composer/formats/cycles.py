"""Find the nodes of a graph that depend on themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NodeNames:
    """A node's inputs, including outer names that its subgraphs read, and its outputs."""

    name: str
    inputs: frozenset[str]
    outputs: tuple[str, ...]


def cyclic_names(nodes: Sequence[NodeNames], producer: Mapping[str, int]) -> list[str]:
    """Return the names of the nodes that can never run, in order.

    `producer` is the index of the node that each value comes from.
    """
    dependencies = []
    for node in nodes:
        dependencies.append({producer[name] for name in node.inputs if name in producer})
    dependents: dict[int, list[int]] = {}
    for number, needed in enumerate(dependencies):
        for other in needed:
            dependents.setdefault(other, []).append(number)
    remaining = [len(needed) for needed in dependencies]
    ready = [number for number, count in enumerate(remaining) if not count]
    while ready:
        for number in dependents.get(ready.pop(), ()):
            remaining[number] -= 1
            if not remaining[number]:
                ready.append(number)
    return [nodes[number].name for number, count in enumerate(remaining) if count]
