"""Check that padding is known to those who count frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from composer.graph.graph import CheckedComponent, Graph, Node


def report_padding(
    graph: Graph, components: Mapping[str, CheckedComponent], report: Callable[..., None]
) -> None:
    """Report frames with padding that go where frames are counted, without their mask."""
    marks = {}
    for node in graph.nodes.values():
        for out, mask in _masks(node, components).items():
            if out in node.outputs and mask in node.outputs:
                marks[node.outputs[out]] = node.outputs[mask]
    for node in graph.nodes.values():
        for port, mask in _masks(node, components).items():
            value = node.wires.get(port)
            if value in marks and mask not in node.wires:
                report(
                    "W280",
                    f"{node.run} counts the padding of ${value} as true frames",
                    "graph",
                    node.name,
                    "with",
                    port,
                    causes=(f"${marks[value]} marks the frames of ${value} that are no padding",),
                    hint=f"wire it: {mask}: ${marks[value]}",
                )


def _masks(node: Node, components: Mapping[str, CheckedComponent]) -> Mapping[str, str]:
    """Return by port of a node the port that marks its frames."""
    checked = components.get(node.component or "")
    return checked.facts.masks if checked and checked.facts else {}
