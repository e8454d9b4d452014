"""Complete the tasks that are written like another one, by what differs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Any

from composer.core.suggest import listed, with_nearest
from composer.manifest.patch import merge_patch
from composer.manifest.source import Document
from composer.manifest.tree import MAX_VALUES, shortened
from composer.manifest.validation_faults import Fault, wrong_type_fault

LIKE = "like"


def complete_tasks(document: Document) -> tuple[Document, list[Fault]]:
    """Return the document with each task whole, and what is wrong with a `like`.

    A task that is `like` another one above it is that task, patched by its own keys as a variant
    patches a bundle. Every value keeps its place in the file.
    """
    tasks = document.data.get("tasks")
    if not isinstance(tasks, dict) or not any(map(_is_like, tasks.values())):
        return document, []
    span = document.spans.children["tasks"]
    spans = replace(span, children=dict(span.children))
    whole: dict[str, Any] = {}
    findings: list[Fault] = []
    room = MAX_VALUES
    for name, task in tasks.items():
        if not _is_like(task):
            whole[name] = task
            continue
        fault = _fault(name, task[LIKE], whole)
        if fault is None:
            room -= _count(whole[task[LIKE]])
        if fault is None and room < 0:
            message = f"with its tasks written out the bundle has more than {MAX_VALUES} values"
            fault = Fault("M101", message, ("tasks", name, LIKE), "write several bundles")
        if fault is not None:
            findings.append(fault)
            continue
        own = {key: value for key, value in task.items() if key != LIKE}
        whole[name], spans.children[name] = merge_patch(
            whole[task[LIKE]], own, spans.children[task[LIKE]], span.children[name]
        )
    top = replace(document.spans, children={**document.spans.children, "tasks": spans})
    return Document(document.file, {**document.data, "tasks": whole}, top), findings


def _is_like(task: Any) -> bool:
    return isinstance(task, dict) and LIKE in task


def _fault(name: str, base: Any, above: Collection[str]) -> Fault | None:
    """Return what is wrong with the name of a task that another one is like."""
    at = ("tasks", name, LIKE)
    if not isinstance(base, str):
        return wrong_type_fault(at, "the name of a task above", base)
    if base in above:
        return None
    message = with_nearest(f"there is no task '{shortened(base)}' above '{name}'", base, above)
    return Fault("M138", message, at, f"tasks above it: {listed(above)}")


def _count(value: Any) -> int:
    """Return how many values there are in a value, itself included."""
    return sum(1 for _ in _walk(value))


def _walk(value: Any) -> Iterator[Any]:
    pending = [value]
    while pending:
        value = pending.pop()
        yield value
        if isinstance(value, dict):
            pending += value.values()
        elif isinstance(value, list):
            pending += value
