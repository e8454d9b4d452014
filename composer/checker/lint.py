"""Warn of what is sound and yet hardly meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from composer.graph.graph import Graph, Node


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
        at, ids = scatter.wires.get("at", ""), _unfilled(graph, makers, scatter)
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


def _unfilled(graph: Graph, makers: Mapping[str, Node], scatter: Node) -> set[str]:
    """Return the ids under a scatter's base, and those that came with its marks."""
    base, marks = (makers.get(scatter.wires.get(key, "")) for key in ("base", "at"))
    beside = {
        value
        for value in (marks.outputs.values() if marks else ())
        if (port := graph.values[value].port) and port.dtype == "i64"
    }
    under = set(base.wires.values()) if base else set()
    filled = {v for v in under if (m := makers.get(v)) and m.component is None and m.run == "fill"}
    return beside | under - filled


def _beside(graph: Graph, scatter: Node) -> list[Node]:
    """Return the nodes that the rows of a scatter go to, and those that make what goes there."""
    there = [node for node in graph.nodes.values() if scatter.name in node.wires.values()]
    together = {value for node in there for value in node.wires.values()}
    makers = [node for node in graph.nodes.values() if together & set(node.outputs.values())]
    return [node for node in graph.nodes.values() if node in [*there, *makers] and node != scatter]
