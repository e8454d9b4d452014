"""Read the options that a run overrides, by node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from composer.checker.adapters import EMBEDDINGS_HINT, differing_embeddings
from composer.checker.options import option_conflicts, read_option
from composer.core.errors import ComposerError, Problem
from composer.core.unknown_names import unknown_name_problems
from composer.graph.checked import Checked
from composer.graph.graph import Graph


def check_options(checked: Checked, graph: Graph, given: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise ComposerError R542 or R544 for options that do not exist or fit."""
    _, problems = read_options(checked, graph, given)
    if problems:
        raise ComposerError(problems)


def read_options(
    checked: Checked, graph: Graph, given: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, dict[str, Any]], list[Problem]]:
    """Return overridden options by node as their types say, with what is wrong about them."""
    problems = unknown_name_problems("set options of", given, graph.nodes)
    read: dict[str, dict[str, Any]] = {name: {} for name in given.keys() & graph.nodes.keys()}
    for name, own in read.items():
        node = graph.nodes[name]
        options = node.known_options
        faults = unknown_name_problems(f"set on '{name}' the option", given[name], options)
        for key in given[name].keys() & options.keys():
            try:
                own[key] = read_option(key, options[key], given[name][key])
            except ValueError as error:
                faults.append(Problem("R542", f"'{name}': {error}"))
        if not faults and node.signature and node.component:
            called, together = checked.components[node.component], {**node.options, **own}
            for message in option_conflicts(called, node.method, node.signature, together):
                faults.append(Problem("R542", f"'{name}': {message}"))
        problems += faults
    if not problems:
        for name, message in differing_embeddings(graph, checked.components, read):
            problems.append(Problem("R542", f"'{name}': {message}", hint=EMBEDDINGS_HINT))
    return read, problems
