"""Find the config keys that the installed mlx-lm reads for an architecture, from its source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

EMBEDS = "input_embeddings"
TEXT = "text_config"


@dataclass(frozen=True)
class ArchitectureKeys:
    """What an architecture reads: `module` computes the text, `nested` means that its settings
    are in `text_config`, `required` are the keys without a default.

    `scales` is whether it scales positions at all.
    """

    module: str
    nested: bool
    read: frozenset[str]
    required: frozenset[str]
    scales: bool


def read_architecture_keys(models: Path, name: str, config: Mapping[str, Any]) -> ArchitectureKeys:
    """Return what mlx-lm's module `name` reads from a config."""
    called = _nested(models / f"{name}.py")
    if not called:
        fields, sources = _fields(models, name, "ModelArgs")
        return _arguments(name, False, fields, sources)
    inner = config.get(TEXT)
    kind = inner.get("model_type") if isinstance(inner, dict) else None
    modules = [module for module, _ in called]
    chosen = modules.index(kind) if kind in modules else -1
    module, result = called[chosen]
    fields, sources = _fields(models, module or name, result)
    return _arguments(module or name, TEXT in config, fields, sources)


def takes_length_from_ids(models: Path, name: str) -> bool:
    """Return whether a function with embeddings takes their number from the ids."""
    for node in ast.walk(_tree(models / f"{name}.py")):
        if isinstance(node, ast.FunctionDef):
            names = [argument.arg for argument in node.args.args]
            if EMBEDS in names and _reads_shape(node, names[1]):
                return True
    return False


def _reads_shape(function: ast.FunctionDef, name: str) -> bool:
    """Return whether a function reads the shape of an argument."""
    for node in ast.walk(function):
        if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
            continue
        if node.attr == "shape" and node.value.id == name:
            return True
    return False


def _arguments(
    name: str, nested: bool, fields: Mapping[str, bool], source: str
) -> ArchitectureKeys:
    used = {*re.findall(r"\.(\w+)\b", source), *re.findall(r"getattr\(\s*\w+,\s*\"(\w+)\"", source)}
    scales = "initialize_rope(" in source and bool(used & {"rope_scaling", "rope_parameters"})
    return ArchitectureKeys(
        name,
        nested,
        frozenset(fields.keys() & used),
        frozenset(key for key, needed in fields.items() if needed),
        scales,
    )


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _nested(path: Path) -> tuple[tuple[str | None, str], ...]:
    """Return the module and the class of each `X.from_dict(args.text_config)`."""
    found = []
    for node in ast.walk(_tree(path)):
        if (
            isinstance(node, ast.Call)
            and ast.unparse(node.func).endswith(".from_dict")
            and node.args
            and ast.unparse(node.args[0]).endswith(f".{TEXT}")
        ):
            module, _, result = ast.unparse(node.func).removesuffix(".from_dict").rpartition(".")
            found.append((module or None, result))
    return tuple(found)


@cache
def _fields(models: Path, name: str, result: str) -> tuple[dict[str, bool], str]:
    """Return the fields of a dataclass, inherited ones first, and the sources that use them."""
    path = models / f"{name}.py"
    fields: dict[str, bool] = {}
    source = path.read_text(encoding="utf-8")
    for node in _tree(path).body:
        if isinstance(node, ast.ClassDef) and node.name == result:
            for base in map(ast.unparse, node.bases):
                module, _, parent = base.rpartition(".")
                if module and (models / f"{module}.py").is_file():
                    above, more = _fields(models, module, parent)
                    fields |= above
                    source += more
            for item in node.body:
                if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                    fields[item.target.id] = item.value is None
    for module in _imported(path):
        if (models / f"{module}.py").is_file():
            source += (models / f"{module}.py").read_text(encoding="utf-8")
    return fields, source


def _imported(path: Path) -> Iterator[str]:
    """Yield the architectures whose classes this one uses."""
    for node in _tree(path).body:
        if not isinstance(node, ast.ImportFrom) or node.level != 1 or not node.module:
            continue
        for alias in node.names:
            if alias.name[:1].isupper() and "Cache" not in alias.name:
                yield node.module
                break
