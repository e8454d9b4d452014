"""Draw a bundle as Mermaid text, which GitHub and many editors show as a diagram."""

from __future__ import annotations

from typing import TYPE_CHECKING

from composer.drawing.diagram import Box, Diagram, diagram

if TYPE_CHECKING:
    from composer.graph.checked import Checked

SHAPES = {"input": ('(["', '"])'), "node": ('["', '"]'), "output": ('[["', '"]]')}


def mermaid(bundle: Checked) -> str:
    """Return a flowchart, with a subgraph for each task where there are several."""
    lines = ["flowchart TD"]
    for number, (name, graph) in enumerate(bundle.graphs.items()):
        drawing = _task(diagram(graph), f"t{number}_" if len(bundle.graphs) > 1 else "")
        if len(bundle.graphs) > 1:
            head = f'subgraph t{number}["{_escape(name)}"]'
            drawing = [head, *(f"  {line}" for line in drawing), "end"]
        lines += [f"  {line}" for line in drawing]
    return "\n".join(lines)


def _task(drawing: Diagram, prefix: str) -> list[str]:
    boxes = [_box(box, prefix) for box in drawing.boxes]
    arrows = []
    for a in drawing.arrows:
        arrows.append(
            f"{prefix}{a.start} -->"
            + (f'|"{_escape(a.label)}"|' if a.label else "")
            + f" {prefix}{a.end}"
        )
    return boxes + arrows


def _box(box: Box, prefix: str) -> str:
    left, right = SHAPES[box.kind]
    label = "<br/>".join([f"<b>{_escape(box.title)}</b>", *map(_escape, box.lines)])
    return f"{prefix}{box.id}{left}{label}{right}"


def _escape(text: str) -> str:
    """Escape Mermaid's and HTML's special characters by Mermaid's entity codes."""
    return "".join(c if c.isalnum() or c in " ._-@:=→," else f"#{ord(c)};" for c in text)
