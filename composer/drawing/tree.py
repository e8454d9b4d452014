"""Draw a bundle as a tree of text, for a terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from composer.core.signature import OUT
from composer.drawing.text import Ports, call, size, weight_lines

if TYPE_CHECKING:
    from composer.graph.checked import Checked
    from composer.graph.graph import Graph, Node
    from composer.manifest import Manifest


@dataclass(frozen=True)
class Branch:
    """A row of cells, and the branches below it."""

    cells: tuple[str, ...]
    below: tuple[Branch, ...] = ()


def tree(bundle: Checked) -> str:
    """Return the bundle's components and tasks, a line each."""
    manifest = bundle.manifest
    variant = f" ({manifest.variant})" if manifest.variant else ""
    title = f"{manifest.name}{variant}" + (f": {manifest.summary}" if manifest.summary else "")
    tasks = []
    for name, graph in bundle.graphs.items():
        label = f"task {name}" if len(bundle.graphs) > 1 else "graph"
        tasks.append(Branch((label,), _task(graph)))
    return "\n".join([title, *_lines((*_provenance(manifest), _components(bundle), *tasks))])


def _provenance(manifest: Manifest) -> tuple[Branch, ...]:
    """Return the licence and the origin of each part."""
    found = []
    for each in manifest.provenance:
        details = ", ".join(filter(None, (each.how, each.licence)))
        found.append(Branch((each.what, f"from {each.from_}", details)))
    parts = tuple(found)
    licence = " and ".join(manifest.licence)
    return (Branch((f"licence: {licence or 'not given'}",), parts),) if licence or parts else ()


def _components(bundle: Checked) -> Branch:
    rows, total = [], 0
    for name, entry in bundle.manifest.components.items():
        known = bundle.components.get(name)
        facts = known.facts if known else None
        nbytes = facts.nbytes if facts else 0
        total += nbytes
        contents = f"{facts.dtype}, {size(nbytes)}" if facts and nbytes else ""
        where = entry.weights or entry.files or ""
        emits = f"emits {entry.emits}" if entry.emits else ""
        backend = known.cls.backend if known else "?"
        packed = weight_lines(facts.weights if facts else ())
        below = tuple(Branch((line.strip(),)) for line in packed)
        rows.append(Branch((name, entry.use, backend, contents, where, emits), below))
    weights = f", {size(total)} of weights" if total else ""
    return Branch((f"components{weights}",), tuple(rows))


def _task(graph: Graph) -> tuple[Branch, ...]:
    ports = Ports(graph)
    inputs = []
    for name, entry in graph.inputs.items():
        default = "input" if entry.default is None else f"= {entry.default!r}"
        inputs.append(Branch((name, ports[name], default)))
    nodes = [_node(node, ports) for node in graph.nodes.values()]
    outputs = [
        Branch((name, ports[value], f"output: {value}")) for name, value in graph.outputs.items()
    ]
    return (*inputs, *nodes, *outputs)


def _node(node: Node, ports: Ports) -> Branch:
    outputs = dict(node.outputs)
    main = outputs.pop(OUT, None)
    parts = tuple(Branch((f".{out}", ports[value])) for out, value in outputs.items())
    return Branch((node.name, ports[main] if main else "", call(node)), parts)


def _widths(branches: tuple[Branch, ...]) -> list[int]:
    """Return the width of each column but the last; a branch of one cell may be wider."""
    columns = max((len(branch.cells) for branch in branches), default=0)
    widths = [0] * columns
    for branch in branches:
        if len(branch.cells) > 1:
            for column, cell in enumerate(branch.cells[: columns - 1]):
                widths[column] = max(widths[column], len(cell))
    return widths


def _lines(branches: tuple[Branch, ...], indent: str = "") -> list[str]:
    """Write branches with their cells in columns."""
    widths = _widths(branches)
    lines = []
    for branch in branches:
        last = branch is branches[-1]
        row = "  ".join(c.ljust(w) for c, w in zip(branch.cells, widths, strict=False)).rstrip()
        lines.append(f"{indent}{'└─' if last else '├─'} {row}")
        lines += _lines(branch.below, indent + ("   " if last else "│  "))
    return lines
