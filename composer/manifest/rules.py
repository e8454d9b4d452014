"""Check rules that span several keys of a manifest: sources, paths, tasks and text lengths."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from composer.core.ports import DTYPES, parse_port
from composer.core.suggest import listed
from composer.manifest.paths import Path, check_path, source_error, source_hint
from composer.manifest.tree import shortened
from composer.manifest.validation_faults import Fault, describe, format_path, wrong_type_fault

RESERVED = ("task", "taps", "feed", "options", "only", "items", "in_flight")

MAX_TEXT = 64 * 1024
MOST_VARIANTS = 100  # each of them is checked
MOST_NODES = 10_000  # of all variants together
SHORTHAND = ("inputs", "graph", "outputs")
FIXED = ("composer", "variants")


def check_rules(data: dict[str, Any]) -> Iterator[Fault]:
    """Yield violations of rules between keys; values of a wrong type are skipped."""
    yield from _check_text_lengths(data)
    sources = _mapping(data.get("sources"))
    for name, value in sources.items():
        if not isinstance(value, str) or not value:
            continue
        fault = source_error(value)
        if fault:
            message = f"'{shortened(value)}' is not a source: {fault}"
            yield Fault("M127", message, ("sources", name), source_hint(value))
    for name, component in _mapping(data.get("components")).items():
        at = ("components", name)
        adapters = _mapping(_mapping(component).get("adapters"))
        owners: list[tuple[Path, Any]] = [(at, component)]
        for key, adapter in adapters.items():
            owners.append(((*at, "adapters", key), adapter))
        for path, owner in owners:
            for key in ("weights", "files"):
                yield from check_path(_mapping(owner).get(key), (*path, key), sources)
    variants = _mapping(data.get("variants"))
    if len(variants) > MOST_VARIANTS:
        message = f"there are {len(variants)} variants; the limit is {MOST_VARIANTS}"
        yield Fault("M101", message, ("variants",), "write several bundles", key=True)
    nodes = _count_nodes(data)
    if nodes * len(variants) > MOST_NODES:
        together = f"there are {len(variants)} variants of {nodes} nodes"
        message = f"{together}; the limit is {MOST_NODES} nodes together"
        yield Fault("M101", message, ("variants",), "write several bundles", key=True)
    for name, patch in variants.items():
        for key in FIXED:
            if key in _mapping(patch):
                message = f"a variant cannot change '{key}'"
                yield Fault("M133", message, ("variants", name, key), "remove it", key=True)
    yield from _check_tasks(data)


def _check_tasks(data: dict[str, Any]) -> Iterator[Fault]:
    if "tasks" in data:
        conflicting = [key for key in SHORTHAND if key in data]
        if conflicting:
            message = f"'{conflicting[0]}' cannot be used together with 'tasks'"
            hint = f"move {' and '.join(conflicting)} into one of the tasks"
            yield Fault("M131", message, (conflicting[0],), hint, key=True)
        for name, task in _mapping(data["tasks"]).items():
            yield from _check_task(_mapping(task), ("tasks", name))
        return
    for key in ("graph", "outputs"):
        if key not in data:
            hint = "write graph and outputs, or several tasks under 'tasks'"
            yield Fault("M122", f"the bundle needs the key '{key}'", (), hint, key=True)
    yield from _check_task(data, ())


def _check_task(task: dict[str, Any], at: Path) -> Iterator[Fault]:
    inputs, graph = _mapping(task.get("inputs")), _mapping(task.get("graph"))
    for name in graph:
        if name in inputs:
            yield Fault(
                "M126",
                f"'{name}' is already the name of an input",
                (*at, "graph", name),
                "give the node another name",
                key=True,
            )
        yield from _expectations(_mapping(graph[name]), (*at, "graph", name))
    for name, value in inputs.items():
        if name in RESERVED:
            message = f"'{name}' is reserved for options of a run, so no input can have this name"
            hint = f"reserved: {listed(RESERVED)}"
            yield Fault("M126", message, (*at, "inputs", name), hint, key=True)
        yield from _input(value, (*at, "inputs", name))
    split = [name for name, value in inputs.items() if "split" in _mapping(value)]
    for name in split[1:]:
        message = f"'{split[0]}' is already split, and a task can split only one input"
        yield Fault("M137", message, (*at, "inputs", name, "split"), "remove one", key=True)


def _input(value: Any, at: Path) -> Iterator[Fault]:
    form = value if isinstance(value, dict) else {"type": value}
    kind, port = form.get("type"), form.get("port")
    if kind == "tensor" and "port" not in form:
        hint = "write {type: tensor, port: f32 M F}: the dtype, then the dims"
        yield Fault("M122", f"{format_path(at)} is a tensor and needs the key 'port'", at, hint)
    if kind in ("audio", "text", "ids", "mask", "image", "images") and "port" in form:
        message = f"{format_path(at)} is {kind} and takes no 'port'"
        yield Fault("M135", message, (*at, "port"), "remove it, or make it a tensor", key=True)
    elif isinstance(port, str):
        yield from _port(port, (*at, "port"))
    for key, hint in (("split", "only audio is split"), ("channel", "only audio has channels")):
        if kind != "audio" and isinstance(kind, str) and key in form:
            message = f"{format_path(at)} is {kind} and takes no '{key}'"
            yield Fault("M135", message, (*at, key), hint, key=True)
    if "default" not in form:
        return
    path, default = (*at, "default"), form["default"]
    if kind == "text" and not isinstance(default, str):
        yield wrong_type_fault(path, "text", default)
    elif kind == "ids":
        if not _is_list_of(default, lambda item: type(item) is int):
            yield Fault("M123", f"{format_path(path)} should be a list of whole numbers", path)
    elif kind == "mask":
        if not _is_list_of(default, lambda item: isinstance(item, bool) or item in (0, 1)):
            yield Fault("M123", f"{format_path(path)} should be a list of true and false", path)
    elif kind in ("audio", "image", "images", "tensor"):
        message = f"{format_path(at)} is {kind} and takes no 'default'"
        yield Fault("M135", message, path, "remove it", key=True)


def _expectations(node: dict[str, Any], at: Path) -> Iterator[Fault]:
    for out, text in _mapping(node.get("expect")).items():
        if isinstance(text, str) and text:
            yield from _expected_port(text, (*at, "expect", out))
    ends: Any = node.get("range")
    if not _is_list_of(ends, lambda end: end is None or type(end) in (int, float)):
        return
    path = (*at, "range")
    if ends == [None, None]:
        yield Fault("M124", f"{format_path(path)} has no limit", path, "write a number or two")
    elif len(ends) == 2 and None not in ends and not ends[0] < ends[1]:
        message = f"{format_path(path)}: {ends[0]} is not below {ends[1]}"
        yield Fault("M124", message, path, "write the least number, then the greatest")


def _expected_port(text: str, path: Path) -> Iterator[Fault]:
    try:
        port = parse_port(text)
    except ValueError as error:
        yield Fault("M136", f"{format_path(path)}: {error}", path)
        return
    if port.marks:
        message = f"{format_path(path)}: an expectation marks no rows"
        yield Fault("M136", message, path, "write dtype, dims and space alone")


def _is_list_of(value: Any, is_valid: Callable[[Any], bool]) -> bool:
    return isinstance(value, list) and all(map(is_valid, value))


def _port(text: str, path: Path) -> Iterator[Fault]:
    try:
        port = parse_port(text)
    except ValueError as error:
        yield Fault("M136", f"{format_path(path)}: {error}", path)
        return
    if port.kind != "tensor" or port.space or not port.dtype:
        message = f"{format_path(path)} should be a dtype and dims, not {describe(text)}"
        yield Fault("M136", message, path, f"write it like f32 M F; dtypes: {', '.join(DTYPES)}")


def _count_nodes(data: dict[str, Any]) -> int:
    """Count the nodes of all tasks, which every variant has."""
    tasks = [data, *_mapping(data.get("tasks")).values()]
    return sum(len(_mapping(_mapping(task).get("graph"))) for task in tasks)


def _check_text_lengths(data: Any) -> Iterator[Fault]:
    pending: list[tuple[Path, Any]] = [((), data)]
    while pending:
        path, value = pending.pop()
        if isinstance(value, str) and len(value) > MAX_TEXT:
            message = f"the text in {format_path(path)} is longer than {MAX_TEXT} characters"
            yield Fault("M130", message, path, "keep long texts in a file of the source")
        elif isinstance(value, dict):
            for key, child in value.items():
                pending.append(((*path, key), child))
        elif isinstance(value, list):
            for index, child in enumerate(value):
                pending.append(((*path, index), child))


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {}
    return value
