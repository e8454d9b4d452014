"""Write the graph of a task out for as many pictures as a run is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from composer.checker.picture_lists import item_of_list, list_inputs, write_out
from composer.checker.wiring import wire
from composer.core.errors import ComposerError, Problem, errors_of
from composer.graph.checked import Checked

MOST = 64  # pictures of a run


def with_pictures(
    checked: Checked, task: str, given: Mapping[str, Any]
) -> tuple[Checked, dict[str, Any]]:
    """Return the checked bundle with a node for each picture, and an input for each.

    One picture needs no list. Raise ComposerError R542 for a list that is empty or too long.
    """
    entry = checked.manifest.tasks[task]
    inputs, counts = dict(given), {}
    for name in list_inputs(entry.inputs):
        value = given.get(name)
        if not isinstance(value, list | tuple):
            continue
        if not 0 < len(value) <= MOST:
            message = f"'{name}' has {len(value)} pictures; expected 1 to {MOST}"
            raise ComposerError(Problem("R542", message))
        counts[name] = len(value)
        inputs |= {item_of_list(name, at): each for at, each in enumerate(value)}
    if all(count == 1 for count in counts.values()):
        return checked, inputs
    graph, found = wire(checked.manifest, write_out(entry, counts), checked.components)
    if errors := errors_of(found):
        raise ComposerError(errors)
    return replace(checked, graphs={**checked.graphs, task: graph}), inputs
