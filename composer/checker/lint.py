"""Warn of what is valid but probably a mistake."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from composer.checker.padding import report_lengths, report_padding
from composer.checker.unmarked_rows import report_unmarked_rows

if TYPE_CHECKING:
    from composer.graph.graph import CheckedComponent, Graph, Node


def lint(
    graph: Graph, components: Mapping[str, CheckedComponent], report: Callable[..., None]
) -> None:
    """Report unused work, padding that counts, rows that go nowhere, and placeholders as tokens."""
    _report_unused(graph, report)
    report_padding(graph, components, report)
    report_lengths(graph, components, report)
    _report_unplaced_rows(graph, report)
    _report_placeholders(graph, report)
    report_unmarked_rows(graph, components, report)


def _report_unused(graph: Graph, report: Callable[..., None]) -> None:
    """Report the nodes and inputs that are never used."""
    values: list[str] = []
    for node in graph.nodes.values():
        values.extend(node.wires.values())
    read = {value.partition(".")[0] for value in (*values, *graph.outputs.values())}
    for name in graph.nodes:
        if name not in read:
            report(
                "L302",
                f"${name} is never used",
                "graph",
                name,
                key=True,
                severity="warning",
                hint="wire it, list it under outputs, or remove the node",
            )
    for name in graph.inputs:
        if name not in read:
            report(
                "L303",
                f"the input ${name} is never used",
                "inputs",
                name,
                key=True,
                severity="warning",
                hint=_text_instead(graph, name) or "wire it, or remove the input",
            )


def _report_unplaced_rows(graph: Graph, report: Callable[..., None]) -> None:
    """Report the slots of a prompt whose marks nothing reads that could put rows there."""
    read = set()
    for node in graph.nodes.values():
        if node.component or node.run == "scatter":
            read |= set(node.wires.values())
    for node in graph.nodes.values():
        masks = {name: graph.values[name] for name in node.outputs.values()}
        used: set[str] = set()
        for name, mask in masks.items():
            if name in read:
                used.update(mask.marks)
        for slot, wire in node.wires.items():
            made = [name for name, mask in masks.items() if wire in mask.marks]
            if made and wire not in used:
                report(
                    "L305",
                    f"the rows of ${wire} go nowhere: nothing is scattered into the slot '{slot}'",
                    "graph",
                    node.name,
                    "with",
                    slot,
                    severity="warning",
                    hint=f"scatter them: {{run: scatter, with: {{base: $..., at: ${made[-1]}, "
                    f"values: ${wire}}}}}",
                )


def _text_instead(graph: Graph, name: str) -> str | None:
    """Return a hint where a node has the name of an input as a text."""
    for node in graph.nodes.values():
        for key, text in node.literals.items():
            if text == name:
                return f"{node.run}.{key} is the text '{name}': write ${name}"
    return None


def _report_placeholders(graph: Graph, report: Callable[..., None]) -> None:
    """Report side inputs computed from ids that still have placeholders in their slots.

    Where `scatter` writes rows over the embeddings of ids, whatever else is computed from these
    ids and used together with the embeddings must have its slots filled too.
    """
    for scatter in graph.nodes.values():
        if scatter.component is not None or scatter.run != "scatter":
            continue
        at, ids = scatter.wires.get("at", ""), _unfilled(graph, scatter)
        for node in _beside(graph, scatter):
            for key, value in node.wires.items():
                if value in ids and at not in node.wires.values():
                    report(
                        "L301",
                        f"{node.run} reads ${value}, which has placeholder ids where "
                        f"${scatter.name} has soft rows",
                        "graph",
                        node.name,
                        "with",
                        key,
                        severity="warning",
                        hint=f"fill them first: {{run: fill, with: {{ids: ${value}, at: ${at}, "
                        "value: 0}}, with the id that the model was trained with in those slots",
                    )


def _unfilled(graph: Graph, scatter: Node) -> set[str]:
    """Return the ids that a scatter's base was embedded from, and those beside its marks."""
    producers = graph.producers
    found = set()
    marks = producers.get(scatter.wires.get("at", ""))
    if marks:
        for value in marks.outputs.values():
            port = graph.values[value].port
            if port and port.dtype == "i64":
                found.add(value)
    base = producers.get(scatter.wires.get("base", ""))
    while base and base.component is None and base.run == "scatter":
        base = producers.get(base.wires.get("base", ""))
    if base:
        for value in base.wires.values():
            producer = producers.get(value)
            if producer is None or producer.component is not None or producer.run != "fill":
                found.add(value)
    return found


def _beside(graph: Graph, scatter: Node) -> list[Node]:
    """Return the nodes that use a scatter's rows, and those that compute their other inputs."""
    together: set[str] = set()
    for node in graph.nodes.values():
        if scatter.name in node.wires.values():
            together.update(node.wires.values())
    found = []
    for node in graph.nodes.values():
        uses = scatter.name in node.wires.values()
        if node != scatter and (uses or together & set(node.outputs.values())):
            found.append(node)
    return found
