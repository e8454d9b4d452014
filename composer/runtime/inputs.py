"""Turn what a user gives into the values that a task's inputs promise."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from composer.core.backend import SHORT, numpy_dtype
from composer.core.errors import ComposerError, Problem
from composer.core.ports import Port
from composer.core.problems import Problems
from composer.core.suggest import did_you_mean, listed
from composer.core.unknown_names import unknown_name_problems
from composer.formats.audio.clip import Clip
from composer.formats.audio.recording import Recording, Recordings
from composer.formats.audio.waveform import Channels
from composer.formats.image.reading import read_picture

if TYPE_CHECKING:
    from composer.formats.audio.channels import Channel
    from composer.graph.checked import Checked
    from composer.graph.graph import Graph
    from composer.manifest import Input

MASK = "a mask is no number: to pass it on as one, say astype(float)"
FLOATS_FIRST = "scale and normalize pixels first; to pass whole numbers on, say astype(float32)"


def read_inputs(
    graph: Graph, given: Mapping[str, Any], unread: Container[str] = ()
) -> dict[str, Any]:
    """Return every input of the task by name; raise ComposerError with all that are wrong.

    An input that is `unread`, or fed, needs no value.
    """
    problems = Problems()
    for name in given.keys() - graph.inputs.keys():
        near = did_you_mean(name, graph.inputs)
        hint = near or f"it takes: {listed(graph.inputs)}"
        problems.report("R540", f"{graph.owner} has no input '{name}'", hint=hint)
    values = {}
    for name, entry in graph.inputs.items():
        value = given.get(name)
        if value is None:
            value = entry.default
        if value is None and name in unread:
            continue
        if value is None:
            hint = f"-i {name}=... on the command line, {name}=... in Python"
            problems.report("R541", f"input '{name}' ({entry.type}) is not given", hint=hint)
            continue
        port = graph.values[name].port
        assert port is not None
        with problems.collect():
            values[name] = _input(name, port, value, entry)
    problems.raise_any()
    return values


def _input(name: str, port: Port, value: Any, entry: Input) -> Any:
    """Return the value of an input; audio that is cut anyway need not fit in memory."""
    if isinstance(value, Recording | Recordings):
        return value  # it was read before
    if entry.split and port.kind == "audio" and not isinstance(value, Channels):
        clip = value if isinstance(value, Clip) else Clip(value)
        return clip.open(entry.channel, entry.split.seconds)
    return _read_value(name, port, value, entry.channel)


def check_text_inputs(checked: Checked, graph: Graph, values: Mapping[str, Any]) -> None:
    """Let components refuse texts that a run was given, before anything is loaded."""
    problems = Problems()
    at = checked.manifest.tasks[graph.task].at
    for node in graph.nodes.values():
        if node.component is None:
            continue
        known = checked.components[node.component]
        for key, name in node.wires.items():
            text = values.get(name)
            if name in graph.inputs and isinstance(text, str):
                with problems.collect(checked.manifest.place(*at, "inputs", name, key=True)):
                    known.cls.validate_text(known.spec.config, key, text)
    problems.raise_any()


def read_feeds(graph: Graph, feed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that replace a graph's own; raise ComposerError with all that are wrong."""
    problems = Problems(unknown_name_problems("feed", feed, graph.values))
    values = {}
    for name in feed.keys() & graph.values.keys():
        port = graph.values[name].port
        if port is None:
            values[name] = feed[name]
            continue
        with problems.collect():
            values[name] = _read_value(name, port, feed[name])
    problems.raise_any()
    return values


def _read_value(name: str, port: Port, value: Any, channel: Channel = "mix") -> Any:
    """Return one value as its port promises, or raise ComposerError."""
    if port.kind == "audio":
        if isinstance(value, Channels):
            return value
        clip = value if isinstance(value, Clip) else Clip(value)
        return clip.read(channel)
    if port.kind == "text":
        return _text(name, value)
    if port.kind == "image":
        return read_picture(value)
    array = _array(name, port, value)
    dtype = numpy_dtype(port.dtype or "f32")
    if array.size == 0:
        array = array.astype(dtype)
    if dtype.kind == "b" and array.dtype.kind in "iu" and np.isin(array, (0, 1)).all():
        array = array.astype(bool)
    whole = array.dtype.kind in "iu" and dtype.kind in "iu"
    counts = isinstance(value, np.ndarray) and value.dtype.kind in "iu" and dtype.kind == "f"
    marks = array.dtype.kind == "b" and dtype.kind != "b"
    sound = (np.can_cast(array.dtype, dtype, "same_kind") or whole) and not counts and not marks
    if array.ndim != len(port.dims) or not sound:
        have = SHORT.get(array.dtype.name, type(value).__name__)
        found = f"{have} [{', '.join(map(str, array.shape))}]"
        hint = None
        if counts:
            hint = FLOATS_FIRST
        elif marks:
            hint = MASK
        raise ComposerError(Problem("R542", f"'{name}' needs '{port}', not {found}", hint=hint))
    with np.errstate(over="ignore"):
        made = array.astype(dtype)
    overflowed = dtype.kind == "f" and np.isinf(made).sum() > np.isinf(array).sum()
    if overflowed or (whole and not np.array_equal(made, array)):
        span = f"{array.min()} to {array.max()}" if array.min() < array.max() else f"{array.min()}"
        message = f"'{name}' needs '{port}', which cannot hold {span}"
        raise ComposerError(Problem("R542", message))
    return made


def _array(name: str, port: Port, value: Any) -> np.ndarray:
    if np.ma.is_masked(value):
        count = int(np.ma.getmaskarray(value).sum())
        message = f"'{name}' needs '{port}', and {count} numbers are masked"
        raise ComposerError(Problem("R542", message, hint="fill them first: filled(0)"))
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        message = f"'{name}' needs '{port}', but its rows are of different lengths"
        if not isinstance(value, list | tuple):
            message = (
                f"'{name}' needs '{port}', and this {type(value).__name__} is no array: {error}"
            )
        raise ComposerError(Problem("R542", message)) from None


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
                f"'{name}' has a lone surrogate at character {at}, which is not allowed in text",
                hint="decode the bytes as UTF-8",
            )
        ) from None
    return value
