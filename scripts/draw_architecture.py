"""Draw docs/images/architecture.svg: the packages, and which of them imports which."""

from __future__ import annotations

import ast
import textwrap

from composer.graph_drawing.diagram import Arrow, Box, Diagram
from composer.graph_drawing.svg import picture
from scripts.imports import COMPONENTS, LEVELS, ROOT, edges

WIDTH = 30


def architecture() -> str:
    """Return the picture: an arrow leads from a package to one that it imports.

    An import that also follows from two others is left out: `jobs` imports `runtime`, which imports
    `core`, so no arrow leads from `jobs` to `core`.
    """
    graph = packages()
    order = [name for name in top_down() if name in graph]
    arrows = [
        Arrow(start, end, "", f"{start} imports {end}")
        for start in order
        for end in order
        if end in direct(graph, start)
    ]
    drawn = Diagram(tuple(box(name) for name in order), tuple(arrows))
    return picture("architecture", {"composer/ (blue) and components/ (orange)": drawn})


def top_down() -> list[str]:
    """Return the packages in an order that imports follow."""
    shipped = [f"components.{name}" for level in reversed(COMPONENTS) for name in sorted(level)]
    runtime = [name for level in reversed(LEVELS) for name in sorted(level)]
    return shipped + runtime


def packages() -> dict[str, set[str]]:
    """Return, for each package, those that it imports."""
    found: dict[str, set[str]] = {}
    for name, targets in edges().items():
        package = package_of(name)
        if package:
            found.setdefault(package, set()).update(filter(None, map(package_of, targets)))
    return {package: targets - {package} for package, targets in found.items()}


def package_of(module: str) -> str | None:
    """Return the package of a module of composer, such as `runtime` or `components.mlx`."""
    root, *parts = module.split(".")
    depth = 2 if parts[:1] == ["components"] else 1
    name = ".".join(parts[:depth])
    return name if root == "composer" and name in top_down() else None


def direct(graph: dict[str, set[str]], start: str) -> set[str]:
    """Return the imports of a package that do not follow from its others."""
    implied = set().union(*(reached(graph, each) for each in graph[start]))
    return graph[start] - implied


def reached(graph: dict[str, set[str]], start: str) -> set[str]:
    """Return every package that one imports, directly or through others."""
    found: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        each = waiting.pop()
        if each not in found:
            found.add(each)
            waiting += graph[each]
    return found


def box(package: str) -> Box:
    """Return the box of a package, with what its docstring says."""
    shipped = package.startswith("components.")
    folder = ROOT / package.replace(".", "/") if shipped else ROOT / "composer" / package
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    lines = textwrap.wrap(docstring.partition("\n")[0], WIDTH)
    title = package.replace(".", "/") if shipped else package
    return Box(package, "node", title, tuple(lines), "mlx" if shipped else "numpy")
