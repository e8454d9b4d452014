"""Hold a bundle, or a dump of one, against a reference, stage by stage in graph order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from composer.comparison.dump import Dump, Stage, plain
from composer.comparison.gates import Tolerance, Verdict, compare
from composer.comparison.steps import stepped
from composer.comparison.tap import dumped, replayed, stage
from composer.core.errors import ComposerError, Problem

if TYPE_CHECKING:
    from composer.graph.graph import Graph, Node
    from composer.runtime.bundle import Bundle

Options = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Row:
    """One stage: the verdict on it with its own input, and with the reference's.

    `fed` is None where the reference lacks an input, or where there is nothing to run.
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
    """The rows in graph order, and the stages that were left out because they were told to be.

    `made` is what made the reference, and what made the values that are held against it, where
    anything did. `ran` is false of two dumps, of which nothing can be run alone.
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
        """Return the first stage that is wrong of itself, else the first that is wrong at all.

        One is wrong of itself if it is so on the reference's input, or if that is not known and
        nothing before it is wrong.
        """
        wrong = [row for row in self.rows if not row.ok]
        for row in wrong:
            alone = row.fed.ok if row.fed else row is not wrong[0]
            if not alone:
                return row
        return wrong[0] if wrong else None


@dataclass(frozen=True)
class Gate:
    """How strictly stages are held: a tolerance, or each stage's own noise; dtypes may be free."""

    tolerance: Tolerance | None = None
    any_float: bool = False

    def allowed(self, want: Stage) -> Tolerance:
        """Return what passes at a stage: what is given, else four times its noise, else 1e-4."""
        return self.tolerance or (Tolerance.of(want.floor) if want.floor else Tolerance())

    def verdict(self, have: Stage, want: Stage) -> Verdict:
        allowed = self.allowed(want)
        floats = {"f16", "bf16", "f32", "f64"}
        free = self.any_float and {have.dtype, want.dtype} <= floats
        dtypes = (want.dtype, want.dtype) if free else (have.dtype, want.dtype)
        x, r = plain(have.value), plain(want.value)
        if free:
            x, r = x.astype("float64"), r.astype("float64")
        return compare(x, r, allowed, dtypes, (have.axes, want.axes), want.along)


def against_dump(
    want: Dump, have: Dump, gate: Gate | None = None, skip: Iterable[str] = ()
) -> Comparison:
    """Hold one dump against another, its order too; a stage that either lacks is a fault."""
    found = _held(want, have, gate or Gate(), tuple(skip))
    moved = _moved(
        [name for name in want.stages if name in have.stages],
        [name for name in have.stages if name in want.stages],
    )
    rows = tuple(
        replace(row, own=replace(row.own, faults=(*row.own.faults, moved[row.name])))
        if row.name in moved
        else row
        for row in found.rows
    )
    return replace(found, rows=rows)


def _held(want: Dump, have: Dump, gate: Gate, skip: tuple[str, ...]) -> Comparison:
    """Hold the stages of two dumps against each other, whatever their order."""
    names = dict.fromkeys([*want.stages, *have.stages])
    left = tuple(name for name in names if _skips(name, skip))
    rows = tuple(
        Row(name, name.partition(".")[0], _verdict(have, want, name, gate))
        for name in names
        if name not in left
    )
    return Comparison(rows, left, (want.about, have.about))


def _moved(want: list[str], have: list[str]) -> dict[str, str]:
    """Return the first stage that two dumps have in different places, and what is told of it."""
    pairs = zip(want, have, strict=True)
    apart = next(((one, other) for one, other in pairs if one != other), None)
    return {apart[0]: f"out of order: {apart[1]} stands there instead"} if apart else {}


def against_bundle(
    want: Dump,
    bundle: Bundle,
    task: str,
    gate: Gate | None = None,
    skip: Iterable[str] = (),
    options: Options | None = None,
) -> Comparison:
    """Run a bundle on a reference's inputs and hold each stage against it, twice.

    Once with what the bundle itself makes, and once each node alone on the reference's values, so
    that a fault shows where it arises and not only where it arrives.
    """
    gate, graph = gate or Gate(), bundle.checked.graphs[task]
    _check_audio(want, graph)
    options = stepped(graph, options)
    inputs = {n: want.stages[n].value for n in graph.inputs if n in want.stages}
    broken = None
    try:
        result = bundle.run(task=task, taps=True, options=options, **inputs)
        have = replayed(want, dumped(bundle, task, result, options), bundle, task, options)
        found = _held(want, have, gate, tuple(skip))
    except ComposerError as error:
        broken = error
        found = _failed(want, graph, broken, tuple(skip))
    alone: dict[str, Verdict | None] = {}
    for node in graph.nodes.values():
        alone |= _alone(want, bundle, task, node, gate, options)
    if broken and all(verdict is None or verdict.ok for verdict in alone.values()):
        raise broken
    nodes = {value: node.name for node in graph.nodes.values() for value in node.outputs.values()}
    order = {name: place for place, name in enumerate(graph.values)}
    rows = tuple(
        Row(row.name, nodes.get(row.name, row.name), row.own, alone.get(row.name))
        for row in sorted(found.rows, key=lambda row: order.get(row.name, len(order)))
    )
    return Comparison(rows, found.skipped, found.made, ran=True)


def _check_audio(want: Dump, graph: Graph) -> None:
    """Raise R548 where a text stands for audio, which would be the name of a file to open."""
    for name, entry in graph.inputs.items():
        given = want.stages.get(name)
        if entry.type == "audio" and given and given.dtype != "audio":
            message = f"'{name}' is {given.dtype} in the dump, and the bundle takes audio"
            raise ComposerError(Problem("R548", message))


def _alone(
    want: Dump, bundle: Bundle, task: str, node: Node, gate: Gate, options: Options | None
) -> dict[str, Verdict | None]:
    """Run one node on the reference's values and hold what it makes."""
    graph = bundle.checked.graphs[task]
    made = [value for value in node.outputs.values() if value in want.stages]
    if not made or not set(node.wires.values()) <= want.stages.keys():
        return {}
    feed = {value: want.stages[value].value for value in set(node.wires.values())}
    try:
        result = bundle.run(task=task, only=[node.name], feed=feed, taps=made, options=options)
    except ComposerError as error:
        return dict.fromkeys(made, Verdict((_why(error),)))
    return {
        value: gate.verdict(stage(graph, value, result.taps[value]), want.stages[value])
        for value in made
    }


def _failed(want: Dump, graph: Graph, error: ComposerError, skip: tuple[str, ...]) -> Comparison:
    """Return the comparison of a run that did not come to its end."""
    names = dict.fromkeys([*want.stages, *graph.values])
    left = tuple(name for name in names if _skips(name, skip))
    failed = Verdict((f"not known, for the run failed: {_why(error)}",))
    given = set(graph.inputs) & want.stages.keys()  # the run had these from the reference
    rows = tuple(Row(n, n, Verdict() if n in given else failed) for n in names if n not in left)
    return Comparison(rows, left, (want.about, {}))


def _why(error: ComposerError) -> str:
    problem = error.problems[0]
    return f"{problem.code} {problem.message}"


def _verdict(have: Dump, want: Dump, name: str, gate: Gate) -> Verdict:
    if name not in want.stages:
        return Verdict(("missing in the reference",))
    if name not in have.stages:
        return Verdict(("missing",))
    return gate.verdict(have.stages[name], want.stages[name])


def _skips(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
