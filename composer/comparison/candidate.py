"""Run a bundle on a reference's clip: as a whole, and each node alone on the reference's values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from composer.comparison.decoder_steps import with_step_options
from composer.comparison.dump import Dump, Stage
from composer.comparison.gates import StageVerdict
from composer.comparison.same_computation import how_computed
from composer.comparison.tap import dump_of, stage, with_replayed_steps
from composer.core.errors import ComposerError, Problem

if TYPE_CHECKING:
    from composer.graph.graph import Graph, Node
    from composer.runtime.bundle import Bundle

Options = Mapping[str, Mapping[str, Any]]
Found = Stage | StageVerdict


@dataclass(frozen=True)
class Candidate:
    """What is compared with the reference of one clip: a stage, or the verdict where none is made.

    `how` is how its nodes come about. `alone` are the outputs of nodes on the reference's values,
    and `nodes` the node that gives each; `failure` is that of the whole run.
    """

    stages: Mapping[str, Found]
    about: Mapping[str, Any] = field(default_factory=dict)
    how: Mapping[str, Any] = field(default_factory=dict)
    alone: Mapping[str, Found] = field(default_factory=dict)
    nodes: Mapping[str, str] = field(default_factory=dict)
    failure: ComposerError | None = None


def run_on(expected: Dump, bundle: Bundle, task: str, options: Options | None) -> Candidate:
    """Run a bundle on the inputs of a reference, and its nodes on the reference's values.

    Raise what the run raises if no node shows its fault.
    """
    graph = bundle.checked.graphs[task]
    _check_audio(expected, graph)
    options = with_step_options(graph, options)
    inputs = {}
    for name in graph.inputs:
        if name in expected.stages:
            inputs[name] = expected.stages[name].value
    alone = _nodes_alone(expected, bundle, task, options)
    nodes = {value: node.name for value, node in graph.producers.items()}
    how = how_computed(bundle, task)
    try:
        result = bundle.run(task=task, taps=True, options=options, **inputs)
        own = dump_of(bundle, task, result, options)
        own = with_replayed_steps(expected, own, bundle, task, options)
        return Candidate(own.stages, own.about, how, alone, nodes)
    except ComposerError as error:
        return Candidate(_failed(expected, graph, error), {}, how, alone, nodes, error)


def _failed(expected: Dump, graph: Graph, error: ComposerError) -> dict[str, Found]:
    """Return the stages of a run that failed, which had its inputs from the reference."""
    failed = StageVerdict((f"not known, because the run failed: {_why(error)}",))
    found: dict[str, Found] = dict.fromkeys([*expected.stages, *graph.values], failed)
    for name in graph.inputs:
        if name in expected.stages:
            found[name] = StageVerdict()
    return found


def _check_audio(expected: Dump, graph: Graph) -> None:
    """Raise R548 for a text in place of audio: it would be opened as a file name."""
    for name, entry in graph.inputs.items():
        given = expected.stages.get(name)
        if entry.type == "audio" and given and given.dtype != "audio":
            message = f"'{name}' is {given.dtype} in the dump, and the bundle takes audio"
            raise ComposerError(Problem("R548", message))


def _nodes_alone(
    expected: Dump, bundle: Bundle, task: str, options: Options | None
) -> dict[str, Found]:
    """Run each node on the reference's values, where it has them, and return the outputs."""
    found: dict[str, Found] = {}
    for node in bundle.checked.graphs[task].nodes.values():
        found |= _node_alone(expected, bundle, task, node, options)
    return found


def _node_alone(
    expected: Dump, bundle: Bundle, task: str, node: Node, options: Options | None
) -> dict[str, Found]:
    graph = bundle.checked.graphs[task]
    made = [value for value in node.outputs.values() if value in expected.stages]
    if not made or not set(node.wires.values()) <= expected.stages.keys():
        return {}
    feed = {value: expected.stages[value].value for value in set(node.wires.values())}
    try:
        result = bundle.run(task=task, only=[node.name], feed=feed, taps=made, options=options)
    except ComposerError as error:
        return dict.fromkeys(made, StageVerdict((_why(error),)))
    return {value: stage(graph, value, result.taps[value]) for value in made}


def _why(error: ComposerError) -> str:
    problem = error.problems[0]
    return f"{problem.code} {problem.message}"
