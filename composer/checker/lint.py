"""Warn of what is sound and yet hardly meant."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from composer.checker.graph import Graph, Node


def lint(graph: Graph, report: Callable[..., None]) -> None:
    """Report work that is done for nothing, and placeholder ids that are taken for tokens."""
    unread(graph, report)
    placeholders(graph, report)


def unread(graph: Graph, report: Callable[..., None]) -> None:
    """Report the nodes and inputs that nobody reads."""
    values = [value for node in graph.nodes.values() for value in node.wires.values()]
    read = {value.partition(".")[0] for value in (*values, *graph.outputs.values())}
    for name in graph.nodes:
        if name not in read:
            report(
                "L302",
                f"nothing reads ${name}",
                "graph",
                name,
                key=True,
                severity="warning",
                hint="wire it, name it under outputs, or remove the node",
            )
    for name in graph.inputs:
        if name not in read:
            report(
                "L303",
                f"nothing reads the input ${name}",
                "inputs",
                name,
                key=True,
                severity="warning",
                hint="wire it, or remove the input",
            )


def placeholders(graph: Graph, report: Callable[..., None]) -> None:
    """Report side inputs made from ids in which slots still hold their placeholder.

    Where `scatter` puts rows over the embeddings of some ids, whatever else is made from these
    ids, and goes where the embeddings go, must know of the slots too.
    """
    makers = {value: node for node in graph.nodes.values() for value in node.outputs.values()}
    for scatter in graph.nodes.values():
        if scatter.component is not None or scatter.run != "scatter":
            continue
        base, at = makers.get(scatter.wires.get("base", "")), scatter.wires.get("at")
        ids = set(base.wires.values()) if base else set()
        for node in _beside(graph, scatter):
            for key, value in node.wires.items():
                if value in ids and at not in node.wires.values():
                    report(
                        "L301",
                        f"{node.run} reads ${value}, which holds placeholder ids where "
                        f"${scatter.name} has soft rows",
                        "graph",
                        node.name,
                        "with",
                        key,
                        severity="warning",
                        hint=f"fill them first: {{run: fill, with: {{ids: ${value}, at: ${at}, "
                        "value: 0}}, with the id that the model was trained with there",
                    )


def _beside(graph: Graph, scatter: Node) -> list[Node]:
    """Return the nodes that make what goes where the rows of a scatter go, beside them."""
    together = {
        value
        for node in graph.nodes.values()
        if scatter.name in node.wires.values()
        for value in node.wires.values()
    }
    return [
        node
        for node in graph.nodes.values()
        if node is not scatter and together & set(node.outputs.values())
    ]
