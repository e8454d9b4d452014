"""Read what a run is asked: its inputs, and what is tapped, fed, overridden and left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from composer.core.errors import ComposerError, Problem
from composer.core.unknown_names import unknown_name_problems
from composer.graph.checked import Checked
from composer.graph.graph import Graph
from composer.runtime.inputs import check_text_inputs, read_feeds, read_inputs
from composer.runtime.loading import require_every_port_known, require_local_files
from composer.runtime.options import read_options
from composer.runtime.picture_lists import with_pictures
from composer.runtime.plan import Plan, plan, require_complete


@dataclass(frozen=True)
class RunRequest:
    """What a run is asked, as `Bundle.run` takes it."""

    inputs: Mapping[str, Any]
    taps: Iterable[str] | bool = ()
    feed: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    only: Iterable[str] | None = None


@dataclass(frozen=True)
class PlannedRun:
    """A run that can begin: its plan, the values that it is given, and the rest as it was read.

    One that `looks_inside` - it keeps a value before the answer, feeds one, or runs a part - runs
    silence too.
    """

    plan: Plan
    values: Mapping[str, Any]
    feed: frozenset[str]
    taps: frozenset[str]
    options: Mapping[str, Mapping[str, Any]]
    looks_inside: bool = False


def plan_run(checked: Checked, task: str, request: RunRequest) -> PlannedRun:
    """Read a request; raise ComposerError with all that is wrong about it."""
    for what, given in (("feed", request.feed), ("options", request.options)):
        if not isinstance(given, Mapping):
            message = f"{what} is {type(given).__name__}; expected a mapping by name"
            raise ComposerError(Problem("R544", message))
    checked, given_inputs = with_pictures(checked, task, request.inputs)
    graph = checked.graphs[task]
    taps = _names(graph, request.taps)
    only = None if request.only is None else set(_names(graph, request.only))
    feed = read_feeds(graph, request.feed)
    options, faults = read_options(checked, graph, request.options)
    problems = unknown_name_problems("tap", taps, graph.values)
    problems += unknown_name_problems("run only", only or (), graph.nodes)
    problems += faults
    if problems:
        raise ComposerError(problems)
    require_every_port_known(checked, [graph])
    planned = plan(checked, task, taps, feed, only)
    require_local_files(checked, planned.nbytes)
    inputs = read_inputs(graph, given_inputs, planned.unread | feed.keys())
    check_text_inputs(checked, graph, inputs)
    require_complete(planned, inputs.keys() | feed.keys(), taps)
    looks_inside = only is not None or bool(feed) or _keeps_inner_values(graph, taps)
    return PlannedRun(planned, inputs | feed, frozenset(feed), taps, options, looks_inside)


def _keeps_inner_values(graph: Graph, taps: Iterable[str]) -> bool:
    """Return whether a value is kept that a node made which generates no text."""
    for name in taps:
        node = graph.nodes.get(name.partition(".")[0])
        if node and not (node.signature and node.signature.streams):
            return True
    return False


def _names(graph: Graph, taps: Iterable[str] | bool) -> frozenset[str]:
    """Return the names of values to keep: those given, one, or with True all."""
    if taps is True:
        return frozenset(graph.values)
    if isinstance(taps, str):
        return frozenset((taps,))
    return frozenset(taps or ())
