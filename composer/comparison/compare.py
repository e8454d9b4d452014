"""Compare a bundle, or a dump of one, with a reference, stage by stage in graph order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from composer.comparison.decoder_steps import with_step_options
from composer.comparison.dump import Dump, Stage, plain
from composer.comparison.gates import Tolerance, Verdict, compare
from composer.comparison.tap import dump_of, stage, with_replayed_steps
from composer.core.errors import ComposerError, Problem

if TYPE_CHECKING:
    from composer.graph.graph import Graph, Node
    from composer.runtime.bundle import Bundle

Options = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Row:
    """One stage: its verdict on its own input, and on the reference's.

    `fed` is None if the reference has no value for an input, or if there is nothing to run.
    """

    name: str
    node: str
    own: Verdict
    fed: Verdict | None = None

    @property
    def ok(self) -> bool:
        return self.own.ok and (self.fed is None or self.fed.ok)


@dataclass(frozen=True)
class Comparison:
    """The rows in graph order, and the stages skipped on request.

    `made` describes the run of the reference and that of the compared values, where
    known. `ran` is false for two dumps, where no node can be run alone.
    """

    rows: tuple[Row, ...]
    skipped: tuple[str, ...] = ()
    made: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {})
    ran: bool = False

    @property
    def ok(self) -> bool:
        return bool(self.rows) and all(row.ok for row in self.rows)

    @property
    def first(self) -> Row | None:
        """Return the first stage at fault itself, else the first that differs at all.

        A stage is at fault itself if it differs on the reference's input or, if that is unknown,
        if no stage before it differs.
        """
        wrong = [row for row in self.rows if not row.ok]
        for row in wrong:
            input_at_fault = row.fed.ok if row.fed else row is not wrong[0]
            if not input_at_fault:
                return row
        return wrong[0] if wrong else None


@dataclass(frozen=True)
class Gate:
    """How to compare stages: a tolerance or each stage's own noise; float dtypes may be free."""

    tolerance: Tolerance | None = None
    any_float: bool = False

    def allowed(self, expected: Stage) -> Tolerance:
        """Return a stage's tolerance: the given one, else four times its noise, else 1e-4."""
        return self.tolerance or (Tolerance.of(expected.floor) if expected.floor else Tolerance())

    def verdict(self, actual: Stage, expected: Stage) -> Verdict:
        allowed = self.allowed(expected)
        floats = {"f16", "bf16", "f32", "f64"}
        free = self.any_float and {actual.dtype, expected.dtype} <= floats
        dtypes = (expected.dtype, expected.dtype) if free else (actual.dtype, expected.dtype)
        x, r = plain(actual.value), plain(expected.value)
        if free:
            x, r = x.astype("float64"), r.astype("float64")
        return compare(x, r, allowed, dtypes, (actual.axes, expected.axes), expected.along)


def against_dump(
    expected: Dump, actual: Dump, gate: Gate | None = None, skip: Iterable[str] = ()
) -> Comparison:
    """Compare two dumps, and their order; a stage missing in either is a fault."""
    found = _compare_stages(expected, actual, gate or Gate(), tuple(skip))
    out_of_order = _first_out_of_order(
        [name for name in expected.stages if name in actual.stages],
        [name for name in actual.stages if name in expected.stages],
    )
    rows = []
    for row in found.rows:
        if row.name in out_of_order:
            faults = (*row.own.faults, out_of_order[row.name])
            row = replace(row, own=replace(row.own, faults=faults))
        rows.append(row)
    return replace(found, rows=tuple(rows))


def _compare_stages(expected: Dump, actual: Dump, gate: Gate, skip: tuple[str, ...]) -> Comparison:
    """Compare the stages of two dumps, in any order."""
    names = dict.fromkeys([*expected.stages, *actual.stages])
    skipped = tuple(name for name in names if _skips(name, skip))
    rows = tuple(
        Row(name, name.partition(".")[0], _verdict(actual, expected, name, gate))
        for name in names
        if name not in skipped
    )
    return Comparison(rows, skipped, (expected.about, actual.about))


def _first_out_of_order(expected: list[str], actual: list[str]) -> dict[str, str]:
    """Return the first stage that is out of order, with its fault."""
    pairs = zip(expected, actual, strict=True)
    different = next(((one, other) for one, other in pairs if one != other), None)
    return {different[0]: f"out of order: {different[1]} is there instead"} if different else {}


def against_bundle(
    expected: Dump,
    bundle: Bundle,
    task: str,
    gate: Gate | None = None,
    skip: Iterable[str] = (),
    options: Options | None = None,
) -> Comparison:
    """Run a bundle on a reference's inputs and compare each stage, twice.

    Once with the bundle's own values, and once each node alone on the reference's values, so
    that a fault shows at its origin and not only downstream.
    """
    gate, graph = gate or Gate(), bundle.checked.graphs[task]
    _check_audio(expected, graph)
    options = with_step_options(graph, options)
    inputs = {n: expected.stages[n].value for n in graph.inputs if n in expected.stages}
    failure = None
    try:
        result = bundle.run(task=task, taps=True, options=options, **inputs)
        actual = with_replayed_steps(
            expected, dump_of(bundle, task, result, options), bundle, task, options
        )
        found = _compare_stages(expected, actual, gate, tuple(skip))
    except ComposerError as error:
        failure = error
        found = _failed(expected, graph, failure, tuple(skip))
    alone: dict[str, Verdict | None] = {}
    for node in graph.nodes.values():
        alone |= _compare_alone(expected, bundle, task, node, gate, options)
    if failure and all(verdict is None or verdict.ok for verdict in alone.values()):
        raise failure
    nodes = {value: node.name for node in graph.nodes.values() for value in node.outputs.values()}
    order = {name: place for place, name in enumerate(graph.values)}
    rows = tuple(
        Row(row.name, nodes.get(row.name, row.name), row.own, alone.get(row.name))
        for row in sorted(found.rows, key=lambda row: order.get(row.name, len(order)))
    )
    return Comparison(rows, found.skipped, found.made, ran=True)


def _check_audio(expected: Dump, graph: Graph) -> None:
    """Raise R548 for a text in place of audio: it would be opened as a file name."""
    for name, entry in graph.inputs.items():
        given = expected.stages.get(name)
        if entry.type == "audio" and given and given.dtype != "audio":
            message = f"'{name}' is {given.dtype} in the dump, and the bundle takes audio"
            raise ComposerError(Problem("R548", message))


def _compare_alone(
    expected: Dump, bundle: Bundle, task: str, node: Node, gate: Gate, options: Options | None
) -> dict[str, Verdict | None]:
    """Run one node on the reference's values and compare its outputs."""
    graph = bundle.checked.graphs[task]
    made = [value for value in node.outputs.values() if value in expected.stages]
    if not made or not set(node.wires.values()) <= expected.stages.keys():
        return {}
    feed = {value: expected.stages[value].value for value in set(node.wires.values())}
    try:
        result = bundle.run(task=task, only=[node.name], feed=feed, taps=made, options=options)
    except ComposerError as error:
        return dict.fromkeys(made, Verdict((_why(error),)))
    return {
        value: gate.verdict(stage(graph, value, result.taps[value]), expected.stages[value])
        for value in made
    }


def _failed(
    expected: Dump, graph: Graph, error: ComposerError, skip: tuple[str, ...]
) -> Comparison:
    """Return the comparison of a run that failed."""
    names = dict.fromkeys([*expected.stages, *graph.values])
    skipped = tuple(name for name in names if _skips(name, skip))
    failed = Verdict((f"not known, because the run failed: {_why(error)}",))
    given = set(graph.inputs) & expected.stages.keys()  # the run had these from the reference
    rows = tuple(Row(n, n, Verdict() if n in given else failed) for n in names if n not in skipped)
    return Comparison(rows, skipped, (expected.about, {}))


def _why(error: ComposerError) -> str:
    problem = error.problems[0]
    return f"{problem.code} {problem.message}"


def _verdict(actual: Dump, expected: Dump, name: str, gate: Gate) -> Verdict:
    if name not in expected.stages:
        return Verdict(("missing in the reference",))
    if name not in actual.stages:
        return Verdict(("missing",))
    return gate.verdict(actual.stages[name], expected.stages[name])


def _skips(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
