"""Warn where a decoder could know which rows are a picture's, or audio, and does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from composer.graph.graph import CheckedComponent, Graph, Node


PORTS = {  # by its name, the types of inputs that it marks, and what a message calls them
    "pictures": (("image", "images"), "a picture"),
    "audio": (("audio",), "audio"),
}


def report_unmarked_rows(
    graph: Graph, components: Mapping[str, CheckedComponent], report: Callable[..., None]
) -> None:
    """Report marks of pictures and audio that are not wired, over rows which have some.

    A decoder whose files are not here has every input that one of its kind may have.
    """
    for node in graph.nodes.values():
        if node.component is None or node.signature is None:
            continue
        facts = components[node.component].facts
        if facts is None or facts.unknown:
            continue
        for key in sorted(node.signature.optional.intersection(PORTS) - node.wires.keys()):
            kinds, words = PORTS[key]
            marks = _marks_of(graph, node, kinds)
            if marks:
                report(
                    "L343",
                    f"{node.run} reads the rows of {words} as those of words: '{key}' is not wired",
                    "graph",
                    node.name,
                    "with",
                    key=True,
                    severity="warning",
                    hint=f"wire the marks of its slots, such as {key}: ${marks[-1]}; with several "
                    "those of all",
                )


def _marks_of(graph: Graph, node: Node, kinds: Sequence[str]) -> list[str]:
    """Return the marks at which rows of a kind were scattered into what a node takes."""
    found, producers = [], graph.producers
    for wire in node.wires.values():
        producer = producers.get(wire)
        while producer and producer.component is None and producer.run == "scatter":
            if _is_of(graph, producer.wires.get("values", ""), kinds):
                found.append(producer.wires.get("at", ""))
            producer = producers.get(producer.wires.get("base", ""))
    return found


def _is_of(graph: Graph, value: str, kinds: Sequence[str]) -> bool:
    """Return whether a value is made of an input of these types."""
    pending, producers = [value], graph.producers
    while pending:
        name = pending.pop()
        if name in graph.inputs and graph.inputs[name].type in kinds:
            return True
        producer = producers.get(name)
        if producer:
            pending += producer.wires.values()
    return False
