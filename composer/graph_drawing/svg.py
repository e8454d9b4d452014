"""Draw a bundle as an SVG picture, which follows the reader's light or dark theme."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from composer.core import registry
from composer.core.xml import allowed_in_xml
from composer.graph.graph import facts_of
from composer.graph_drawing.diagram import Box, Diagram, Part, graph_diagram
from composer.graph_drawing.labels import Rectangle, place_labels
from composer.graph_drawing.layout import RISE, Layout, Point, lay_out
from composer.graph_drawing.legend import Key, bundle_legend
from composer.graph_drawing.text import weights_text

if TYPE_CHECKING:
    from composer.graph.checked import Checked

MARGIN, HEADING = 24.0, 34.0
CHARACTER, SMALL, LINE, PADDING = 7.3, 6.1, 17.0, 12.0
SWATCH, NEXT_TO = 14.0, 8.0
GROWTH, MOST_GROWTH = 1.4, 20  # of the room between layers, until all labels have places
LIGHT = """
  svg {background: #ffffff; font: 12px ui-monospace, Menlo, Consolas, monospace}
  text {fill: #1f2328; text-anchor: middle}
  .head {font-size: 15px; font-weight: 600; text-anchor: start}
  .title {font-weight: 600; font-size: 13px}
  .key {text-anchor: start}
  .note {font-size: 10px; text-anchor: start; fill: #59636e}
  .label {font-size: 10px; fill: #59636e}
  .size {fill: #59636e}
  .ground {fill: #ffffff}
  .box {fill: #f6f8fa; stroke: #8c959f}
  .input, .output {fill: #eefbf0; stroke: #3a8a4d}
  .output {stroke-width: 2.5}
  .wire {fill: none; stroke: #8c959f; stroke-width: 1.4}
  .tip {fill: #8c959f}
"""
DARK = """    svg {background: #0d1117}
    text {fill: #e6edf3}
    .label, .note, .size {fill: #9da7b1}
    .ground {fill: #0d1117}
    .box {fill: #161b22; stroke: #6e7681}
    .input, .output {fill: #12261a; stroke: #4da863}
    .wire {stroke: #6e7681}
    .tip {fill: #6e7681}
"""
TIP = (
    '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto"><path class="tip" d="M0,0 L8,4 L0,8 z"/></marker>'
)
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
    """Return a picture of every task, one below the other, with a legend."""
    name = bundle.manifest.name
    parts = _parts(bundle)
    diagrams = {}
    for task, graph in bundle.graphs.items():
        title = f"{name}: {task}" if len(bundle.graphs) > 1 else name
        diagrams[title] = graph_diagram(graph, parts)
    keys, notes = bundle_legend(bundle, _backends(diagrams))
    return picture(name, diagrams, keys, notes)


def _parts(bundle: Checked) -> dict[str, Part]:
    """Return what runs each component, and its weights."""
    found = {}
    for name, component in bundle.components.items():
        first, _, _ = component.cls.name.partition(".")
        known = first in registry.backend_names()
        weights = weights_text(facts_of(bundle.components, name))
        found[name] = Part(
            first if known else component.cls.backend, weights and f"{name}: {weights}"
        )
    return found


def picture(
    name: str, diagrams: Mapping[str, Diagram], keys: Iterable[Key] = (), notes: Iterable[str] = ()
) -> str:
    """Return a picture of diagrams under their titles, one below the other, and a legend."""
    parts, top, width = [], MARGIN, 0.0
    for title, drawing in diagrams.items():
        lines, layout = _render(drawing)
        parts.append(_text(MARGIN, top + 14, title, "head"))
        parts.append(f'<g transform="translate({MARGIN:g},{top + HEADING:g})">')
        parts += [f"  {line}" for line in lines]
        parts.append("</g>")
        top += HEADING + layout.height + 2 * MARGIN
        width = max(width, layout.width, len(title) * 10)
    for line, extent in _legend(keys, notes):
        parts.append(f'<g transform="translate({MARGIN:g},{top - MARGIN:g})">{line}</g>')
        width = max(width, extent)
        top += LINE + 2
    full, height = round(width + 2 * MARGIN), round(top - MARGIN + bool(keys) * MARGIN)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {full} {height}" '
        f'width="{full}" height="{height}" role="img">'
    )
    title = f"<title>{_escape(name)}</title>"
    style = _style(_backends(diagrams))
    body = "\n".join(parts)
    return f"{head}\n{title}\n<style>{style}</style>\n<defs>{TIP}</defs>\n{body}\n</svg>\n"


def _backends(diagrams: Mapping[str, Diagram]) -> list[str]:
    named = {box.backend for drawing in diagrams.values() for box in drawing.boxes}
    return sorted(named.intersection(registry.backend_names()))


def _legend(keys: Iterable[Key], notes: Iterable[str]) -> Iterable[tuple[str, float]]:
    """Yield the lines of a legend, and how wide each is."""
    for key in keys:
        box = f'<rect class="box {key.style}" width="{SWATCH:g}" height="{SWATCH:g}" rx="3"/>'
        yield box + _text(SWATCH + NEXT_TO, 11, key.text, "key"), _after_swatch(key.text)
    for note in notes:
        yield _text(0, 11, note, "note"), len(note) * SMALL


def _after_swatch(text: str) -> float:
    return SWATCH + NEXT_TO + len(text) * CHARACTER


def _render(drawing: Diagram) -> tuple[list[str], Layout]:
    """Return the elements of a diagram, with as much room between layers as its labels need."""
    sizes = {box.id: _size(box) for box in drawing.boxes}
    arrows = [arrow for arrow in drawing.arrows if arrow.start in sizes]
    edges = [(arrow.start, arrow.end) for arrow in arrows]
    labels = [arrow.label for arrow in arrows if arrow.label]
    widths = [_label_width(each) for each in labels]
    rise = RISE
    for _ in range(MOST_GROWTH):
        layout = lay_out(sizes, edges, rise)
        layout = replace(layout, width=max(layout.width, *widths, 0))
        paths = [path for path, arrow in zip(layout.paths, arrows, strict=True) if arrow.label]
        boxes = [Rectangle(*layout.centres[name], *size) for name, size in sizes.items()]
        places = place_labels(paths, widths, boxes, layout.width)
        if places is not None:
            break
        rise *= GROWTH
    assert places is not None, "with enough room every label has a place on its own arrow"
    lines = []
    for arrow, points in zip(arrows, layout.paths, strict=True):
        note = f"<title>{_escape(arrow.note)}</title>"
        curve = f'<path class="wire" marker-end="url(#tip)" d="{_curve(points)}">'
        lines.append(f"{curve}{note}</path>")
    for box in drawing.boxes:
        lines += _box(box, layout.centres[box.id], sizes[box.id])
    for text, place in zip(labels, places, strict=True):
        lines += _label(text, place)
    return lines, layout


def _lines(box: Box) -> list[str]:
    """Return what is written in a box, below its title."""
    sizes = box.sizes or ("",) * len(box.lines)
    lines = [", ".join(filter(None, pair)) for pair in zip(box.lines, sizes, strict=True)]
    return [*lines, box.weights] if box.weights else lines


def _size(box: Box) -> Point:
    lines = _lines(box)
    longest = max(map(len, (box.title, *lines)))
    return longest * CHARACTER + 2 * PADDING, (1 + len(lines)) * LINE + PADDING


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
    for row, line in enumerate(_lines(box), 1):
        kind = "size" if line == box.weights else ""
        lines.append(_text(x, at + row * LINE, line, kind))
    return lines


def _curve(points: tuple[Point, ...]) -> str:
    """Return a path that is vertical at each point."""
    path = [f"M{points[0][0]:.1f},{points[0][1]:.1f}"]
    for (x, y), (after_x, after_y) in pairwise(points):
        middle = (y + after_y) / 2
        path.append(f"C{x:.1f},{middle:.1f} {after_x:.1f},{middle:.1f} {after_x:.1f},{after_y:.1f}")
    return " ".join(path)


def _label_width(text: str) -> float:
    return len(text) * SMALL + 4


def _label(text: str, place: Rectangle) -> list[str]:
    left, top = place.x - place.width / 2, place.y - place.height / 2
    ground = f'<rect class="ground" x="{left:.1f}" y="{top:.1f}" width="{place.width:.1f}"'
    return [f'{ground} height="{place.height:g}"/>', _text(place.x, place.y + 3.5, text, "label")]


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    tag = f'text class="{kind}"' if kind else "text"
    return f'<{tag} x="{x:.1f}" y="{y:.1f}">{_escape(text)}</text>'


def _escape(text: str) -> str:
    """Escape text for XML."""
    return allowed_in_xml(text).translate(ENTITIES)
