"""Run a bundle once and record every value, with its provenance."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from composer.comparison.decoder_steps import IDS, REPLAY, with_step_options
from composer.comparison.dump import Dump, Stage, digest, plain, stage_of
from composer.comparison.gates import measure
from composer.comparison.same_computation import how_computed
from composer.core.errors import ComposerError, Problem
from composer.generation.options import TEXT_ENDS
from composer.runtime.provenance import describe_run

if TYPE_CHECKING:
    from composer.graph.graph import Graph
    from composer.runtime.bundle import Bundle
    from composer.runtime.result import Result


def tap(
    bundle: Bundle,
    task: str,
    inputs: Mapping[str, Any],
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> Dump:
    """Run a task and return every value, as one dump."""
    given = with_step_options(bundle.checked.graphs[task], options)
    result = bundle.run(task=task, taps=True, options=given, **inputs)
    return dump_of(bundle, task, result, options)


def with_replayed_steps(
    like: Dump,
    made: Dump,
    bundle: Bundle,
    task: str,
    options: Mapping[str, Mapping[str, Any]] | None,
) -> Dump:
    """Return a bundle's dump with its logits for another dump's ids.

    Steps that cannot be replayed, such as for ids of another vocabulary, are left out.
    """
    graph = bundle.checked.graphs[task]
    stages = dict(made.stages)
    for node in graph.nodes.values():
        if node.method == REPLAY and node.wires[IDS] in like.stages:
            feed = {value: made.stages[value].value for value in node.wires.values()}
            feed[node.wires[IDS]] = like.stages[node.wires[IDS]].value
            del stages[node.name]
            with suppress(ComposerError):
                again = bundle.run(
                    task=task, only=[node.name], feed=feed, taps=[node.name],
                    options=with_step_options(graph, options),
                )  # fmt: skip
                stages[node.name] = stage(graph, node.name, again.taps[node.name])
    return replace(made, stages=stages)


def dump_of(
    bundle: Bundle, task: str, result: Result, options: Mapping[str, Mapping[str, Any]] | None
) -> Dump:
    """Return a run with all values tapped as a dump.

    A float output without an element, and one of a decoder that no option asked for, is left out:
    nothing could be compared with it.
    """
    graph = bundle.checked.graphs[task]
    if not graph.values.keys() <= result.taps.keys():
        message = "the audio is split, but a dump has only one piece"
        raise ComposerError(Problem("R549", message, hint="give a clip of one piece"))
    stages = {name: stage(graph, name, result.taps[name]) for name in graph.values}
    for name in stages.keys() - graph.inputs.keys():
        if _is_empty(name, stages[name].value):
            del stages[name]
    texts, digests = {}, {}
    for name in graph.inputs:
        value = stages[name].value
        if isinstance(value, str):
            texts[name] = value
        else:
            digests[name] = digest(value)
    about = {**describe_run(bundle, task, texts, options or {}), **how_computed(bundle, task)}
    about["digests"] = digests
    return Dump(stages, about)


def _is_empty(name: str, value: Any) -> bool:
    if not isinstance(value, np.ndarray) or value.size:
        return False
    return value.dtype.kind == "f" or name.endswith(f".{TEXT_ENDS}")


def stage(graph: Graph, name: str, value: Any) -> Stage:
    """Describe a value as its port does; rows are along the last axis of fixed length."""
    port = graph.values[name].port
    if port is None or port.kind != "tensor":
        return stage_of(value, None, (), -1)
    along = -1
    for axis, dim in enumerate(graph.values[name].dims):
        if graph.length(dim):
            along = axis
    return stage_of(value, port.dtype, tuple(map(str, port.dims)), along)


def with_floor(dump: Dump, other: Dump, alone: Mapping[str, Any] | None = None) -> Dump:
    """Return the dump with the noise of each stage: its distance from another run.

    `alone` is what the other run's nodes give for the values of the dump.
    """
    stages, floor = dict(dump.stages), {}
    for name, stage in other.stages.items():
        if name in stages:
            stages[name] = _with_noise(stages[name], stage)
            floor[name] = stage.value
    about = {**dump.about, "floor": dict(other.about)}
    return replace(dump, stages=stages, about=about, floor=floor, alone=dict(alone or {}))


def _with_noise(own: Stage, other: Stage) -> Stage:
    expected, actual = plain(own.value), plain(other.value)
    if isinstance(expected, str) or isinstance(actual, str) or expected.shape != actual.shape:
        return own
    if expected.dtype.kind != "f" or not expected.size or not np.isfinite([expected, actual]).all():
        return own
    return replace(own, floor=measure(actual, expected, own.along))
