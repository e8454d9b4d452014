"""Draw a bundle as a tree of text, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from composer.core.call_signature import OUT
from composer.core.units import format_bytes
from composer.graph_drawing.text import PortTexts, call_text, weight_lines

if TYPE_CHECKING:
    from composer.graph.checked import Checked
    from composer.graph.graph import Graph, Node
    from composer.manifest import Manifest


@dataclass(frozen=True)
class Branch:
    """A row of cells, and the branches below it."""

    cells: tuple[str, ...]
    below: tuple[Branch, ...] = ()


Casts = Mapping[str, Sequence[str]]  # what changes on the way into nodes, by their names


def tree(bundle: Checked, casts: Mapping[str, Casts] | None = None) -> str:
    """Return the bundle's components and tasks, a line each, with the casts of each task."""
    manifest = bundle.manifest
    title = manifest.name
    if manifest.variant:
        title += f" ({manifest.variant})"
    if manifest.summary:
        title += f": {manifest.summary}"
    branches = [*_provenance(manifest), _components(bundle)]
    for name, graph in bundle.graphs.items():
        label = f"task {name}" if len(bundle.graphs) > 1 else "graph"
        branches.append(Branch((label,), _task(graph, (casts or {}).get(name, {}))))
    return "\n".join([title, *_lines(branches)])


def _provenance(manifest: Manifest) -> tuple[Branch, ...]:
    """Return the licence and the origin of each part."""
    parts = []
    for each in manifest.provenance:
        details = ", ".join(filter(None, (each.how, each.licence)))
        parts.append(Branch((each.what, f"from {each.from_}", details)))
    if not (manifest.licence or parts):
        return ()
    licence = " and ".join(manifest.licence) or "not given"
    return (Branch((f"licence: {licence}",), tuple(parts)),)


def _components(bundle: Checked) -> Branch:
    rows, total = [], 0
    for name, entry in bundle.manifest.components.items():
        backend, contents, emits = "?", "", ""
        known = bundle.components.get(name)
        if known:
            backend = known.cls.backend
        facts = known.facts if known else None
        if facts and facts.nbytes:
            total += facts.nbytes
            contents = f"{facts.dtype}, {format_bytes(facts.nbytes)}"
        if entry.emits:
            emits = f"emits {entry.emits}"
        where = entry.weights or entry.files or ""
        lines = [line.strip() for line in weight_lines(facts.weights if facts else ())]
        lines += [f"cast  {cast}" for cast in (facts.casts if facts else ())]
        below = tuple(Branch((line,)) for line in lines)
        rows.append(Branch((name, entry.use, backend, contents, where, emits), below))
    title = "components"
    if total:
        title += f", {format_bytes(total)} of weights"
    return Branch((title,), tuple(rows))


def _task(graph: Graph, casts: Casts) -> tuple[Branch, ...]:
    ports = PortTexts(graph)
    branches = []
    for name, entry in graph.inputs.items():
        default = "input" if entry.default is None else f"= {entry.default!r}"
        branches.append(Branch((name, ports[name], default)))
    for node in graph.nodes.values():
        branches.append(_node(node, ports, casts.get(node.name, ())))
    for name, value in graph.outputs.items():
        branches.append(Branch((name, ports[value], f"output: {value}")))
    return tuple(branches)


def _node(node: Node, ports: PortTexts, casts: Sequence[str]) -> Branch:
    main, parts = "", [Branch((cast,)) for cast in casts]
    for out, value in node.outputs.items():
        if out == OUT:
            main = ports[value]
        else:
            parts.append(Branch((f".{out}", ports[value])))
    return Branch((node.name, main, call_text(node)), tuple(parts))


def _widths(branches: Sequence[Branch]) -> list[int]:
    """Return the width of each column but the last; a branch of one cell may be wider."""
    columns = max((len(branch.cells) for branch in branches), default=0)
    widths = [0] * columns
    for branch in branches:
        if len(branch.cells) > 1:
            for column, cell in enumerate(branch.cells[: columns - 1]):
                widths[column] = max(widths[column], len(cell))
    return widths


def _lines(branches: Sequence[Branch], indent: str = "") -> list[str]:
    """Write branches with their cells in columns."""
    widths = _widths(branches)
    lines = []
    for branch in branches:
        corner, below = "├─", "│  "
        if branch is branches[-1]:
            corner, below = "└─", "   "
        row = "  ".join(map(str.ljust, branch.cells, widths)).rstrip()
        lines.append(f"{indent}{corner} {row}")
        lines += _lines(branch.below, indent + below)
    return lines
