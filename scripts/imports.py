"""Read every import of the project: the levels of packages, and who imports whom.

tests/test_architecture.py checks the order, scripts/draw_architecture.py draws it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Each level imports only from those above it and from itself; packages of a level not one another.
LEVELS = (
    {"core"},
    {"formats"},
    {"manifest", "generation"},
    {"sources"},
    {"graph"},
    {"checker", "graph_drawing"},
    {"runtime"},
    {"evaluation", "comparison", "benchmarking", "quantization", "publishing"},
    {"corpus"},
    {"jobs"},
    {"server"},
    {"cli"},
)
COMPONENTS = (
    {"checkpoints", "operators"},
    {"models"},
    {"mlx", "onnx", "numpy", "audio", "image", "text"},
)
FOLDERS = ("composer", "components", "mirror", "training", "converters", "benchmarks", "tests")


def files(folder: str) -> list[Path]:
    """Return the Python files of a folder."""
    return sorted((ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    """Return the name that a file is imported by."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = ("composer", *parts) if parts[0] == "components" else parts
    return ".".join(parts).removesuffix(".__init__")


@cache
def modules() -> dict[str, Path]:
    """Return every module of the project by its name."""
    return {name_of(path): path for folder in FOLDERS for path in files(folder)}


def imported(path: Path, *, top_only: bool = False) -> Iterator[str]:
    """Yield every module that a file imports; with top_only, those imported when it is."""
    package = name_of(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    tree = ast.parse(path.read_text())
    for node in top(tree.body) if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield inner if inner in modules() else source


def top(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that run when a module is imported."""
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        for part in ("body", "orelse", "handlers", "finalbody"):
            if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
                yield from top(getattr(node, part, []))


@cache
def edges() -> dict[str, set[str]]:
    """Return, for each module, those of the same tree that it imports anywhere."""
    found = {}
    for name, path in modules().items():
        root = name.split(".")[0]
        found[name] = {each for each in imported(path) if each.split(".")[0] == root} - {name}
    return found


def level(module: str) -> tuple[str, int] | None:
    """Return a module's package and how far up the page its level stands."""
    parts = module.split(".")[1:]
    levels = LEVELS
    if parts and parts[0] == "components":
        parts, levels = parts[1:], COMPONENTS
    for number, packages in enumerate(levels):
        if parts and parts[0] in packages:
            return parts[0], number
    return None
