"""Turn what is typed on the command line into inputs and options of a task."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from composer.cli.options import split_pairs
from composer.core.errors import ComposerError, Problem
from composer.core.problems import Problems
from composer.core.suggest import did_you_mean, listed, shorten
from composer.formats.audio.channels import check_channel_choice
from composer.formats.audio.clip import Clip

if TYPE_CHECKING:
    from composer.core.call_signature import Option
    from composer.formats.audio.channels import Channel
    from composer.graph.graph import Graph


def parse_inputs(
    graph: Graph,
    given: list[str] | None,
    channel: Channel | None = None,
    partial: bool = False,
) -> dict[str, Any]:
    """Return the inputs of a task as their types say; an unknown name is left to the task."""
    from composer.checker.picture_lists import list_inputs

    found: dict[str, Any] = {}
    problems = Problems()
    alone, several = _split_lists(given, list_inputs(graph.inputs))
    for name, texts in several.items():
        with problems.collect():
            found[name] = [_file(name, text) for text in texts]
    for name, text in split_pairs(alone, "--input", "NAME=VALUE").items():
        kind = "text"
        if name in graph.inputs:
            port = graph.values[name].port
            kind = port.kind if port else kind
        with problems.collect():
            found[name] = _value(name, kind, text)
            if kind == "audio":
                found[name] = Clip(found[name], channel, partial)
    problems.raise_any()
    return found


def _split_lists(
    given: list[str] | None, lists: list[str]
) -> tuple[list[str], dict[str, list[str]]]:
    """Return the inputs that are given once, and by name those that may be given several times."""
    alone: list[str] = []
    several: dict[str, list[str]] = {}
    for text in given or ():
        name, _, value = text.partition("=")
        if name in lists and value:
            several.setdefault(name, []).append(value)
        else:
            alone.append(text)
    return alone, several


def parse_channel(text: str | None) -> Channel | None:
    """Return the channel that is asked for, if any."""
    if text is None:
        return None
    check_channel_choice(text)
    return cast("Channel", text)


def _value(name: str, kind: str, text: str) -> Any:
    if kind in ("audio", "image"):
        return _file(name, text)
    if kind == "tensor":
        return _numbers(name, text)
    return text


def _file(name: str, text: str) -> str | bytes:
    """Return the path of a recording or a picture, or the bytes that stand on stdin."""
    if text == "-":
        return sys.stdin.buffer.read()
    if os.path.exists(text) and not (os.path.isfile(text) or os.path.isdir(text)):
        message = f"'{name}' needs a file, and {text} is a pipe or device"
        raise ComposerError(Problem("R542", message, hint=f"-i {name}=- reads standard input"))
    return text


def _numbers(name: str, text: str) -> Any:
    """Read an array from a .safetensors or .npy file, or from a JSON list."""
    import numpy as np

    path = Path(text)
    if path.suffix == ".safetensors":
        from composer.formats.value_file import read_value_file

        tensors = read_value_file(path)
        if name not in tensors and len(tensors) != 1:
            message = f"{text} contains {listed(tensors)}, but not '{name}'"
            hint = f"keep one tensor in it, or name one '{name}'"
            raise ComposerError(Problem("R542", message, hint=hint))
        if name in tensors:
            return tensors[name]
        (only,) = tensors.values()
        return only
    if path.suffix == ".npy":
        try:
            with np.errstate(over="ignore"):
                # Mapped first: a header may claim more than there is memory, or file.
                return np.array(np.load(path, mmap_mode="r", allow_pickle=False))
        except Exception as error:  # its parser of headers raises what Python's own does
            why = getattr(error, "strerror", None) or error
            message = f"'{name}' cannot be read from {text}: {why}"
            raise ComposerError(Problem("R542", message)) from None
    try:
        return np.asarray(json.loads(text))
    except (ValueError, RecursionError):
        message = f"'{name}' needs numbers, not '{_short(text)}'"
        hint = f"-i '{name}=[...]' as JSON, or a .npy or .safetensors file"
        raise ComposerError(Problem("R542", message, hint=hint)) from None


def parse_options(graph: Graph, given: list[str] | None) -> dict[str, dict[str, Any]]:
    """Return options by node; raise ComposerError for those that do not exist or fit."""
    found: dict[str, dict[str, Any]] = {}
    problems: list[Problem] = []
    for key, text in split_pairs(given, "--set", "NODE.OPTION=VALUE").items():
        name, _, option = key.partition(".")
        node = graph.nodes.get(name)
        options = node.known_options if node else {}
        if node is None:
            problems.append(_unknown(key, f"no node '{name}'", name, graph.nodes))
        elif option not in options:
            what = f"no option '{option}'" if option else "no option named"
            problems.append(_unknown(key, f"{name} ({node.run}) has {what}", option, options))
        else:
            try:
                found.setdefault(name, {})[option] = _option(option, options[option], text)
            except ValueError as error:
                hint = (
                    f"write it as JSON: --set '{key}=[\"...\"]'" if "a list" in str(error) else None
                )
                problems.append(Problem("R542", f"'{name}': {error}", hint=hint))
    if problems:
        raise ComposerError(problems)
    return found


def _unknown(key: str, what: str, word: str, known: Mapping[str, Any]) -> Problem:
    hint = did_you_mean(word, known) or f"there are: {listed(known)}"
    return Problem("R544", f"cannot set {key}: {what}", hint=hint)


def _option(name: str, option: Option, text: str) -> Any:
    """Read an option as JSON, or else as plain text."""
    from composer.checker.options import read_option

    try:
        return read_option(name, option, json.loads(text))
    except (ValueError, RecursionError) as error:
        wrong = error
    try:
        return read_option(name, option, text)
    except ValueError as error:
        raise (error if isinstance(wrong, json.JSONDecodeError) else wrong) from None


def _short(text: str) -> str:
    return shorten(text, 60)
