"""Turn a graph into boxes and arrows, the common form of all drawings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from composer.core.call_signature import OUT
from composer.graph_drawing.text import PortTexts

if TYPE_CHECKING:
    from composer.graph.graph import Graph


@dataclass(frozen=True)
class Box:
    """One input, node or output: its name, call and output ports.

    `sizes` are the bytes of the lines, "" where a line has none, and `weights` what the component
    has, at the first node that runs it.
    """

    id: str
    kind: Literal["input", "node", "output"]
    title: str
    lines: tuple[str, ...]
    backend: str = ""
    sizes: tuple[str, ...] = ()
    weights: str = ""


@dataclass(frozen=True)
class Arrow:
    """A value passed from one box to an input of another."""

    start: str
    end: str
    label: str
    note: str


@dataclass(frozen=True)
class Diagram:
    """Boxes in the order of the graph, and the arrows between them."""

    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]


@dataclass(frozen=True)
class Part:
    """The backend that runs a component, and its weights in words, "" where it has none."""

    backend: str
    weights: str = ""


def graph_diagram(graph: Graph, parts: Mapping[str, Part] | None = None) -> Diagram:
    """Return the boxes and arrows of one task; `parts` are the components by name."""
    ports = PortTexts(graph)
    parts, seen = parts or {}, set[str]()
    boxes, arrows = [], []
    for name in graph.inputs:
        boxes.append(Box(f"v_{name}", "input", name, (ports[name],), "", (ports.nbytes(name),)))
    for node in graph.nodes.values():
        lines, sizes = [node.run], [""]
        for out, value in node.outputs.items():
            lines.append(ports[value] if out == OUT else f".{out} {ports[value]}")
            sizes.append(ports.nbytes(value))
        part = parts.get(node.component or "")
        weights = part.weights if part and node.component not in seen else ""
        seen.add(node.component or "")
        where = graph.values[next(iter(node.outputs.values()))].backend  # of an operator's value
        backend = part.backend if part else where
        boxes.append(
            Box(f"v_{node.name}", "node", node.name, tuple(lines), backend, tuple(sizes), weights)
        )
        for key, value in node.wires.items():
            arrows.append(_arrow(ports, value, f"v_{node.name}", key, f"{node.name}.{key}"))
    for name, value in graph.outputs.items():
        boxes.append(Box(f"o_{name}", "output", name, (ports[value],), "", (ports.nbytes(value),)))
        arrows.append(_arrow(ports, value, f"o_{name}", "", name))
    return Diagram(tuple(boxes), tuple(arrows))


def _arrow(ports: PortTexts, value: str, end: str, label: str, into: str) -> Arrow:
    base, _, out = value.partition(".")
    words = []
    if out:
        words.append(f".{out}")
    if label and label not in (base, out):
        words.append(label)
    return Arrow(f"v_{base}", end, " → ".join(words), f"${value} → {into}: {ports[value]}")
