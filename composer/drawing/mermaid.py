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
        drawn = _task(diagram(graph), f"t{number}_" if len(bundle.graphs) > 1 else "")
        if len(bundle.graphs) > 1:
            drawn = [f'subgraph t{number}["{_escaped(name)}"]', *(f"  {d}" for d in drawn), "end"]
        lines += [f"  {line}" for line in drawn]
    return "\n".join(lines)


def _task(drawn: Diagram, prefix: str) -> list[str]:
    boxes = [_box(box, prefix) for box in drawn.boxes]
    arrows = [
        f"{prefix}{a.start} -->" + (f'|"{_escaped(a.label)}"|' if a.label else "")
        + f" {prefix}{a.end}"
        for a in drawn.arrows
    ]  # fmt: skip
    return boxes + arrows


def _box(box: Box, prefix: str) -> str:
    left, right = SHAPES[box.kind]
    label = "<br/>".join([f"<b>{_escaped(box.title)}</b>", *map(_escaped, box.lines)])
    return f"{prefix}{box.id}{left}{label}{right}"


def _escaped(text: str) -> str:
    """Write what Mermaid or HTML would read as its own by Mermaid's entity codes."""
    return "".join(c if c.isalnum() or c in " ._-@:=→," else f"#{ord(c)};" for c in text)
