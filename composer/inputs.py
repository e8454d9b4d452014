"""Turn what a user gives into the values that a task's inputs promise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from composer.audio import Audio, read_audio
from composer.backend import LONG, SHORT
from composer.errors import ComposerError, Problem
from composer.suggest import did_you_mean, listed
from composer.types import Port

if TYPE_CHECKING:
    from composer.checker.graph import Graph


def read_inputs(graph: Graph, given: Mapping[str, Any], fed: Mapping[str, Any]) -> dict[str, Any]:
    """Return every input of the task by name; raise ComposerError with all that are wrong.

    An input that is fed needs no value.
    """
    problems: list[Problem] = []
    for name in given.keys() - graph.inputs.keys():
        near = did_you_mean(name, graph.inputs)
        hint = near or f"it takes: {listed(graph.inputs)}"
        problems.append(Problem("R540", f"the bundle has no input '{name}'", hint=hint))
    values = {}
    for name, entry in graph.inputs.items():
        value = given.get(name, entry.default)
        if name in fed:
            continue
        if value is None:
            hint = f"-i {name}=... on the command line, {name}=... in Python"
            problems.append(
                Problem("R541", f"input '{name}' ({entry.type}) is not given", hint=hint)
            )
            continue
        try:
            port = graph.values[name].port
            assert port is not None
            values[name] = read_value(name, port, value)
        except ComposerError as error:
            problems += error.problems
    if problems:
        raise ComposerError(problems)
    return values


def read_value(name: str, port: Port, value: Any) -> Any:
    """Return one value as its port promises, or raise ComposerError."""
    if port.kind == "audio":
        return value if isinstance(value, Audio) else read_audio(value)
    if port.kind == "text":
        return _text(name, value)
    array = np.asarray(value)
    dtype = port.dtype or "f32"
    have = SHORT.get(array.dtype.name, type(value).__name__)
    if array.ndim != len(port.dims) or not np.can_cast(array.dtype, LONG[dtype], "same_kind"):
        found = f"{have} [{', '.join(map(str, array.shape))}]"
        raise ComposerError(Problem("R542", f"'{name}' needs '{port}', not {found}"))
    return array.astype(LONG[dtype])


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        kind = type(value).__name__
        raise ComposerError(Problem("R542", f"'{name}' needs text, not {kind}"))
    try:
        value.encode()
    except UnicodeEncodeError as error:
        at = error.start
        raise ComposerError(
            Problem(
                "R542",
                f"'{name}' has a lone surrogate at character {at}, which is no text",
                hint="decode the bytes as UTF-8",
            )
        ) from None
    return value
