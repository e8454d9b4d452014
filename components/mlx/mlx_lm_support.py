"""Check what the installed mlx-lm supports of a model_type, without importing it."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from composer.core.errors import Problem
from composer.formats.file_problems import show

from .config.conventions import COMPARED

EMBEDS = "input_embeddings"
IDS_ALONE = frozenset({"gemma2"})  # what takes no embeddings until mlx_lm_patches changes it


@cache
def mlx_lm_folder() -> Path | None:
    """Return the folder of the installed mlx-lm, or None."""
    found = find_spec("mlx_lm")
    if found is None or not found.submodule_search_locations:
        return None
    return Path(found.submodule_search_locations[0])


def unsupported_problem(config: Mapping[str, Any]) -> Problem | None:
    """Return why mlx.lm cannot run this config's model_type, or a warning if that is unknown."""
    kind = config.get("model_type")
    if kind is None:
        return Problem("W240", "config.json names no model_type")
    if not isinstance(kind, str) or not re.fullmatch(r"[A-Za-z0-9_\-]{1,64}", kind):
        return Problem(
            "W240", f"config.json has the model_type {show(str(kind))}, which names no model"
        )
    names = config.get("architectures")
    if names is not None and not _are_names(names):
        return Problem(
            "W240",
            f"config.json has the architectures {show(str(names))}; expected a list of names",
        )
    package = mlx_lm_folder()
    if package is None:
        return Problem(
            "L321",
            f"mlx-lm is not installed here, so it is unknown whether it supports '{kind}'",
            severity="warning",
        )
    name = _module_name(package, kind, names)
    path = package / "models" / f"{name}.py"
    if not path.is_file():
        known = sorted(file.stem for file in path.parent.glob("*.py"))
        hint = "install a newer mlx-lm"
        if similar := get_close_matches(kind, known, n=1):
            hint = f"did you mean '{similar[0]}'?"
        return Problem("W240", f"the installed mlx-lm has no model_type '{kind}'", hint=hint)
    accepted = _arguments(path)
    if EMBEDS not in accepted and name not in IDS_ALONE:
        return Problem(
            "W240",
            f"mlx-lm's '{kind}' does not accept {EMBEDS}, so its prompt cannot have soft "
            "embeddings",
            hint="request input_embeddings for this architecture in mlx-lm",
        )
    if _needs_layer_inputs(path):
        return Problem(
            "W240",
            f"mlx-lm's '{kind}' reads per-layer inputs from ids, which mlx.lm does not give it",
            hint="an architecture with per-layer inputs needs a component with a port for them",
        )
    if kind not in COMPARED:
        return Problem(
            "W240",
            f"mlx-lm's '{kind}' was not compared with another implementation, so it is not known "
            "which keys of its config it reads as they are meant",
            hint="docs/checkpoints.md lists the architectures that were",
        )
    return None


def mlx_lm_module_name(config: Mapping[str, Any]) -> str:
    """Return the module of the installed mlx-lm that runs a config."""
    package = mlx_lm_folder()
    assert package is not None, "mlx.lm needs mlx-lm"
    return _module_name(package, config["model_type"], config.get("architectures"))


def _module_name(package: Path, kind: str, architectures: Any) -> str:
    """Return mlx-lm's module for a model_type, by its own tables."""
    tables = _tables(package / "utils.py")
    names = architectures or []
    if isinstance(architectures, str):
        names = [architectures]
    for name in names:
        if remapped := tables.get("MODEL_ARCHITECTURE_REMAPPING", {}).get((kind, name)):
            return str(remapped)
    return str(tables.get("MODEL_REMAPPING", {}).get(kind, kind))


def _are_names(value: Any) -> bool:
    names = value if isinstance(value, list) else [value]
    return all(isinstance(name, str) for name in names)


@cache
def _tables(path: Path) -> dict[str, dict[Any, str]]:
    tables = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            for target in node.targets:
                if isinstance(target, ast.Name) and target.id.endswith("_REMAPPING"):
                    tables[target.id] = ast.literal_eval(node.value)
    return tables


@cache
def _methods(path: Path) -> tuple[tuple[str, ast.FunctionDef], ...]:
    """Return the methods of a module's classes, by name: Model.__call__."""
    found = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef):
            for item in node.body:
                if isinstance(item, ast.FunctionDef):
                    found.append((f"{node.name}.{item.name}", item))
    return tuple(found)


def _arguments(path: Path) -> list[str]:
    """Return the arguments of a module's Model.__call__."""
    found: list[str] = []
    for name, function in _methods(path):
        if name == "Model.__call__":
            found += _names_of(function)
    return found


def _needs_layer_inputs(path: Path) -> bool:
    """Return whether a model takes per-layer inputs."""
    return any("per_layer_inputs" in _names_of(function) for _, function in _methods(path))


def _names_of(function: ast.FunctionDef) -> list[str]:
    return [argument.arg for argument in (*function.args.args, *function.args.kwonlyargs)]
