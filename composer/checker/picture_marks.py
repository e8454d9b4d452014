"""Warn where a decoder could know which rows are a picture's, and does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from composer.graph.graph import CheckedComponent, Graph, Node


def report_unmarked_pictures(
    graph: Graph, components: Mapping[str, CheckedComponent], report: Callable[..., None]
) -> None:
    """Report optional masks that are not wired, over rows into which a picture's are scattered.

    A decoder whose files are not here has every input that one of its kind may have.
    """
    for node in graph.nodes.values():
        if node.component is None or node.signature is None:
            continue
        facts = components[node.component].facts
        if facts is None or facts.unknown:
            continue
        for key in sorted(node.signature.optional - node.wires.keys()):
            marks = _marks_of_pictures(graph, node)
            if marks and node.signature.inputs[key][0].dtype == "bool":
                report(
                    "L343",
                    f"{node.run} reads the rows of a picture as those of words: '{key}' is not "
                    "wired",
                    "graph",
                    node.name,
                    "with",
                    key=True,
                    severity="warning",
                    hint=f"wire the marks of its slots, such as {key}: ${marks[-1]}; with several "
                    "pictures those of all",
                )


def _marks_of_pictures(graph: Graph, node: Node) -> list[str]:
    """Return the marks at which rows of pictures were scattered into what a node takes."""
    found, producers = [], graph.producers
    for wire in node.wires.values():
        producer = producers.get(wire)
        while producer and producer.component is None and producer.run == "scatter":
            if _is_of_a_picture(graph, producer.wires.get("values", "")):
                found.append(producer.wires.get("at", ""))
            producer = producers.get(producer.wires.get("base", ""))
    return found


def _is_of_a_picture(graph: Graph, value: str) -> bool:
    """Return whether a value is made of an input that is a picture."""
    pending, producers = [value], graph.producers
    while pending:
        name = pending.pop()
        if name in graph.inputs and graph.inputs[name].type == "image":
            return True
        producer = producers.get(name)
        if producer:
            pending += producer.wires.values()
    return False
