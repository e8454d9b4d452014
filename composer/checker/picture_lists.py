"""Tasks that take a list of pictures, written out for as many as there are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from composer.core.suggest import listed
from composer.manifest import Input, Task
from composer.manifest import Node as NodeEntry

LIST = "images"


def list_inputs(inputs: Mapping[str, Input]) -> list[str]:
    """Return the inputs that are lists of pictures."""
    return [name for name, entry in inputs.items() if entry.type == LIST]


def report_loose_items(task: Task, report: Callable[..., None]) -> None:
    """Report nodes that read one of two lists at a time, and outputs that are one of a list."""
    lists, hint = _lists_of(task), "join them first: concat with {values: [$...]}, in brackets"
    for name, node in task.graph.items():
        read = _lists_read(node, lists)
        if len(read) > 1:
            message = f"'{name}' would be run for each of {listed(read)}"
            report("W235", message, "graph", name, key=True, hint=hint)
    for name, reference in task.outputs.items():
        if _base(reference) in lists:
            message = f"{reference} is one value for each of {lists[_base(reference)]}"
            report("W235", message, "outputs", name, hint=hint)


def _lists_of(task: Task) -> dict[str, str]:
    """Return the list that each value is of, by the name of its input or node."""
    lists = {name: name for name in list_inputs(task.inputs)}
    for name, node in task.graph.items():
        if read := _lists_read(node, lists):
            lists[name] = read[0]
    return lists


def _lists_read(node: NodeEntry, lists: Mapping[str, str]) -> list[str]:
    """Return the lists of which a node reads one value at a time."""
    return sorted({lists[base] for base in map(_base, node.with_.values()) if base in lists})


def item_of_list(name: str, number: int) -> str:
    """Return what the picture of a number, from 0, and what is made of it are called."""
    return name if number == 0 else f"{name}_{number + 1}"


def write_out(task: Task, counts: Mapping[str, int]) -> Task:
    """Return a task with an input for each picture of its lists, and nodes for each.

    What reads one of a list is run for each of them, `seen` as `seen`, `seen_2` and so on; where a
    node takes a list of values, `[$seen]` stands for all of these.
    """
    lists = _lists_of(task)
    inputs: dict[str, Input] = {}
    for name, entry in task.inputs.items():
        for number in range(counts.get(name, 1)):
            inputs[item_of_list(name, number)] = entry if number == 0 else Input("image")
    graph: dict[str, NodeEntry] = {}
    for name, node in task.graph.items():
        read = _lists_read(node, lists)
        for number in range(counts.get(read[0], 1) if read else 1):
            given = {}
            for key, value in node.with_.items():
                given[key] = _value(value, lists, counts, number)
            graph[item_of_list(name, number)] = replace(node, with_=given)
    return replace(task, inputs=inputs, graph=graph)


def _base(reference: Any) -> str:
    """Return the name that a reference begins with; a literal has none."""
    if not isinstance(reference, str) or not reference.startswith("$"):
        return ""
    return reference[1:].partition(".")[0]


def _value(value: Any, lists: Mapping[str, str], counts: Mapping[str, int], number: int) -> Any:
    """Return what a node is given for one picture: its own value, or a list of all."""
    if not isinstance(value, list):
        return _renamed(value, number) if _base(value) in lists else value
    found = []
    for each in value:
        count = counts.get(lists[_base(each)], 1) if _base(each) in lists else 1
        found += [_renamed(each, at) if count > 1 else each for at in range(count)]
    return found


def _renamed(reference: str, number: int) -> str:
    base, dot, out = reference[1:].partition(".")
    return f"${item_of_list(base, number)}{dot}{out}"
