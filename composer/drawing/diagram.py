"""Turn a graph into boxes and arrows, which every kind of drawing starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from composer.core.signature import OUT
from composer.drawing.text import Ports

if TYPE_CHECKING:
    from composer.graph.graph import Graph


@dataclass(frozen=True)
class Box:
    """One input, node or output: its name, what it runs, and what it gives."""

    id: str
    kind: Literal["input", "node", "output"]
    title: str
    lines: tuple[str, ...]
    backend: str = ""


@dataclass(frozen=True)
class Arrow:
    """A value on its way from one box into an input of another."""

    start: str
    end: str
    label: str
    note: str


@dataclass(frozen=True)
class Diagram:
    """Boxes in the order of the graph, and the arrows between them."""

    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


def diagram(graph: Graph) -> Diagram:
    """Return the boxes and arrows of one task."""
    ports = Ports(graph)
    boxes, arrows = [], []
    for name in graph.inputs:
        boxes.append(Box(f"v_{name}", "input", name, (ports[name],)))
    for node in graph.nodes.values():
        gives = [
            ports[value] if out == OUT else f".{out} {ports[value]}"
            for out, value in node.outputs.items()
        ]
        backend = graph.values[next(iter(node.outputs.values()))].backend
        boxes.append(Box(f"v_{node.name}", "node", node.name, (node.run, *gives), backend))
        for key, value in node.wires.items():
            arrows.append(_arrow(ports, value, f"v_{node.name}", key, f"{node.name}.{key}"))
    for name, value in graph.outputs.items():
        boxes.append(Box(f"o_{name}", "output", name, (ports[value],)))
        arrows.append(_arrow(ports, value, f"o_{name}", "", name))
    return Diagram(tuple(boxes), tuple(arrows))


def _arrow(ports: Ports, value: str, end: str, label: str, into: str) -> Arrow:
    base, _, out = value.partition(".")
    format_path = f".{out}" if out else ""
    text = " → ".join(
        part for part in (format_path, label if label not in (base, out) else "") if part
    )
    return Arrow(f"v_{base}", end, text, f"${value} → {into}: {ports[value]}")
