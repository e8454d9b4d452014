"""Draw a bundle as an SVG picture, which follows the reader's light or dark theme."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from composer.core import registry
from composer.core.xml import allowed_in_xml
from composer.graph_drawing.diagram import Box, Diagram, graph_diagram
from composer.graph_drawing.layout import Layout, Point, lay_out

if TYPE_CHECKING:
    from composer.graph.checked import Checked

MARGIN, HEADING = 24.0, 34.0
CHARACTER, SMALL, LINE, PADDING = 7.3, 6.1, 17.0, 12.0
LIGHT = """
  svg {background: #ffffff; font: 12px ui-monospace, Menlo, Consolas, monospace}
  text {fill: #1f2328; text-anchor: middle}
  .head {font-size: 15px; font-weight: 600; text-anchor: start}
  .title {font-weight: 600; font-size: 13px}
  .label {font-size: 10px; fill: #59636e}
  .ground {fill: #ffffff}
  .box {fill: #f6f8fa; stroke: #8c959f}
  .input, .output {fill: #eefbf0; stroke: #3a8a4d}
  .wire {fill: none; stroke: #8c959f; stroke-width: 1.4}
  .tip {fill: #8c959f}
"""
DARK = """    svg {background: #0d1117}
    text {fill: #e6edf3}
    .label {fill: #9da7b1}
    .ground {fill: #0d1117}
    .box {fill: #161b22; stroke: #6e7681}
    .input, .output {fill: #12261a; stroke: #4da863}
    .wire {stroke: #6e7681}
    .tip {fill: #6e7681}
"""
# As in xml.sax.saxutils, which imports an HTTP client.
ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})


def _style(backends: Iterable[str]) -> str:
    """Return the style sheet with each backend's own colours."""
    light, dark = LIGHT, DARK
    for name in backends:
        colours = registry.backend(name).colours
        if colours:
            light += f"  .on-{name} {{fill: {colours.fill}; stroke: {colours.stroke}}}\n"
            dark += f"    .on-{name} {{fill: {colours.dark_fill}; stroke: {colours.dark_stroke}}}\n"
    return f"{light}  @media (prefers-color-scheme: dark) {{\n{dark}  }}\n"


def svg(bundle: Checked) -> str:
    """Return a picture of every task, one below the other."""
    name = bundle.manifest.name
    diagrams = {}
    for task, graph in bundle.graphs.items():
        title = f"{name}: {task}" if len(bundle.graphs) > 1 else name
        diagrams[title] = graph_diagram(graph)
    return picture(name, diagrams)


def picture(name: str, diagrams: Mapping[str, Diagram]) -> str:
    """Return a picture of diagrams under their titles, one below the other."""
    parts, top, width = [], MARGIN, 0.0
    for title, drawing in diagrams.items():
        lines, layout = _render(drawing)
        parts.append(_text(MARGIN, top + 14, title, "head"))
        parts.append(f'<g transform="translate({MARGIN:g},{top + HEADING:g})">')
        parts += [f"  {line}" for line in lines]
        parts.append("</g>")
        top += HEADING + layout.height + 2 * MARGIN
        width = max(width, layout.width, len(title) * 10)
    backends = {box.backend for drawing in diagrams.values() for box in drawing.boxes}
    used = sorted(backends.intersection(registry.backend_names()))
    full, height = round(width + 2 * MARGIN), round(top - MARGIN)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {full} {height}" '
        f'width="{full}" height="{height}" role="img">'
    )
    title = f"<title>{_escape(name)}</title>"
    tip = (
        '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path class="tip" d="M0,0 L8,4 L0,8 z"/></marker>'
    )
    body = "\n".join(parts)
    return f"{head}\n{title}\n<style>{_style(used)}</style>\n<defs>{tip}</defs>\n{body}\n</svg>\n"


def _render(drawing: Diagram) -> tuple[list[str], Layout]:
    sizes = {box.id: _size(box) for box in drawing.boxes}
    arrows = [arrow for arrow in drawing.arrows if arrow.start in sizes]
    layout = lay_out(sizes, [(arrow.start, arrow.end) for arrow in arrows])
    lines, labels, entering = [], [], Counter[str]()
    for arrow, points in zip(arrows, layout.paths, strict=True):
        note = f"<title>{_escape(arrow.note)}</title>"
        lines.append(
            f'<path class="wire" marker-end="url(#tip)" d="{_curve(points)}">{note}</path>'
        )
        if arrow.label:
            # Labels of arrows into one box are at three heights, so that they seldom overlap.
            labels += _label(arrow.label, *_along(points, 0.3 + 0.24 * (entering[arrow.end] % 3)))
        entering[arrow.end] += 1
    for box in drawing.boxes:
        lines += _box(box, layout.centres[box.id], sizes[box.id])
    return lines + labels, layout


def _size(box: Box) -> Point:
    longest = max(map(len, (box.title, *box.lines)))
    return longest * CHARACTER + 2 * PADDING, (1 + len(box.lines)) * LINE + PADDING


def _box(box: Box, centre: Point, size: Point) -> list[str]:
    (x, y), (width, height) = centre, size
    left, top = x - width / 2, y - height / 2
    shape, corner = f"box {box.kind}", height / 2
    if box.kind == "node":
        shape, corner = f"box on-{box.backend}", 6.0
    lines = [
        f'<rect class="{_escape(shape)}" x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" '
        f'height="{height:.1f}" rx="{corner:g}"/>'
    ]
    at = top + PADDING / 2 + 13
    lines.append(_text(x, at, box.title, "title"))
    for row, line in enumerate(box.lines, 1):
        lines.append(_text(x, at + row * LINE, line))
    return lines


def _curve(points: tuple[Point, ...]) -> str:
    """Return a path that is vertical at each point."""
    x, y = points[0]
    path = [f"M{x:.1f},{y:.1f}"]
    for after_x, after_y in points[1:]:
        middle = (y + after_y) / 2
        path.append(f"C{x:.1f},{middle:.1f} {after_x:.1f},{middle:.1f} {after_x:.1f},{after_y:.1f}")
        x, y = after_x, after_y
    return " ".join(path)


def _along(points: tuple[Point, ...], part: float) -> Point:
    """Return a point of the last bend of a curve."""
    (x0, y0), (x1, y1) = points[-2:]
    left = 1 - part
    bend = part**2 * (3 - 2 * part)
    y = y0 * left**3 + 1.5 * (y0 + y1) * part * left + y1 * part**3
    return x0 + (x1 - x0) * bend, y


def _label(text: str, x: float, y: float) -> list[str]:
    width = len(text) * SMALL + 4
    ground = f'<rect class="ground" x="{x - width / 2:.1f}" y="{y - 7:.1f}" width="{width:.1f}"'
    return [f'{ground} height="13"/>', _text(x, y + 3, text, "label")]


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    tag = f'text class="{kind}"' if kind else "text"
    return f'<{tag} x="{x:.1f}" y="{y:.1f}">{_escape(text)}</text>'


def _escape(text: str) -> str:
    """Escape text for XML."""
    return allowed_in_xml(text).translate(ENTITIES)
