"""Draw a bundle as Mermaid text, which GitHub and many editors show as a diagram."""

from __future__ import annotations

import re
from textwrap import indent
from typing import TYPE_CHECKING

from composer.graph_drawing.diagram import Box, graph_diagram

if TYPE_CHECKING:
    from composer.graph.checked import Checked
    from composer.graph.graph import Graph

SPECIAL = re.compile(r"[^\w .@:=→,-]")
SHAPES = {"input": ('(["', '"])'), "node": ('["', '"]'), "output": ('[["', '"]]')}


def mermaid(bundle: Checked) -> str:
    """Return a flowchart, with a subgraph for each task where there are several."""
    if len(bundle.graphs) == 1:
        (graph,) = bundle.graphs.values()
        return "\n".join(["flowchart TD", _task(graph, "", "  ")])
    lines = ["flowchart TD"]
    for number, (name, graph) in enumerate(bundle.graphs.items()):
        lines.append(f'  subgraph t{number}["{_escape(name)}"]')
        lines.append(_task(graph, f"t{number}_", "    "))
        lines.append("  end")
    return "\n".join(lines)


def _task(graph: Graph, prefix: str, margin: str) -> str:
    """Return a task's lines, with a prefix before each name."""
    drawing = graph_diagram(graph)
    lines = [_box(box, prefix) for box in drawing.boxes]
    for each in drawing.arrows:
        arrow = "-->"
        if each.label:
            arrow += f'|"{_escape(each.label)}"|'
        lines.append(f"{prefix}{each.start} {arrow} {prefix}{each.end}")
    return indent("\n".join(lines), margin)


def _box(box: Box, prefix: str) -> str:
    left, right = SHAPES[box.kind]
    label = "<br/>".join([f"<b>{_escape(box.title)}</b>", *map(_escape, box.lines)])
    return f"{prefix}{box.id}{left}{label}{right}"


def _escape(text: str) -> str:
    """Escape Mermaid's and HTML's special characters by Mermaid's entity codes."""
    return SPECIAL.sub(lambda found: f"#{ord(found[0])};", text)
