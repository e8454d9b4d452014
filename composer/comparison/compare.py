"""Compare a bundle, or a dump of one, with a reference, stage by stage in graph order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from composer.comparison.candidate import Candidate, Found, Options, run_on
from composer.comparison.dump import Dump, Stage
from composer.comparison.gates import StageVerdict
from composer.comparison.judge import FLOOR, REFERENCE, Pair, StageJudge
from composer.comparison.same_computation import alike, same_precision

if TYPE_CHECKING:
    from composer.graph.graph import Graph
    from composer.runtime.bundle import Bundle


@dataclass(frozen=True)
class Row:
    """One stage: its verdict on its own input, and on the reference's.

    `fed` is None if the reference has no value for an input, or if there is nothing to run.
    """

    name: str
    node: str
    own: StageVerdict
    fed: StageVerdict | None = None

    @property
    def ok(self) -> bool:
        return self.own.ok and (self.fed is None or self.fed.ok)


@dataclass(frozen=True)
class Comparison:
    """The rows in graph order over all clips, and the stages skipped on request.

    `made` describes the run of the reference and that of the compared values, where
    known, of the first clip. `ran` is false for two dumps, where no node can be run alone.
    """

    rows: tuple[Row, ...]
    skipped: tuple[str, ...] = ()
    made: tuple[Mapping[str, Any], Mapping[str, Any]] = ({}, {})
    ran: bool = False
    clips: int = 1

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
        if not wrong:
            return None
        for row in wrong:
            if row is wrong[0] and row.fed is None:
                return row
            if row.fed and not row.fed.ok:
                return row
        return wrong[0]


def against_dump(
    expected: Dump, actual: Dump, gate: StageJudge | None = None, skip: Iterable[str] = ()
) -> Comparison:
    """Compare two dumps of the same clips, and their order; a missing stage is a fault."""
    found = [Candidate(clip.stages, clip.about, clip.about) for clip in actual.clips]
    return _compared(expected, found, gate or StageJudge(), tuple(skip), list(actual.stages))


def against_bundle(
    expected: Dump,
    bundle: Bundle,
    task: str,
    gate: StageJudge | None = None,
    skip: Iterable[str] = (),
    options: Options | None = None,
) -> Comparison:
    """Run a bundle on a reference's inputs and compare each stage, twice.

    Once with the bundle's own values, and once each node alone on the reference's values, so
    that a fault shows at its how_computed and not only downstream.
    """
    graph = bundle.checked.graphs[task]
    runs = [run_on(clip, bundle, task, options) for clip in expected.clips]
    # Another program has no order of its own between the outputs of one node.
    in_order = list(expected.stages)
    if "ways" in expected.about:
        in_order = list(graph.values)
    found = _compared(expected, runs, gate or StageJudge(), tuple(skip), in_order)
    failures = [run.failure for run in runs if run.failure]
    if failures and all(row.fed is None or row.fed.ok for row in found.rows):
        raise failures[0]
    return replace(found, rows=_in_graph_order(found.rows, graph), ran=True)


def _in_graph_order(rows: Iterable[Row], graph: Graph) -> tuple[Row, ...]:
    """Return rows in the order of the graph's values, each with the node that made its value."""
    producers = graph.producers
    order = {name: place for place, name in enumerate(graph.values)}
    found = []
    for row in sorted(rows, key=lambda row: order.get(row.name, len(order))):
        node = producers[row.name].name if row.name in producers else row.name
        found.append(replace(row, node=node))
    return tuple(found)


def _compared(
    expected: Dump,
    runs: Sequence[Candidate],
    gate: StageJudge,
    skip: tuple[str, ...],
    order: list[str],
) -> Comparison:
    """Compare the stages of all clips, and the order of the reference's with this order."""
    clips = list(zip(expected.clips, runs, strict=True))
    names: dict[str, None] = {}
    for clip, run in clips:
        names |= dict.fromkeys((*clip.stages, *run.stages))
    skipped = [name for name in names if _skips(name, skip)]
    misplaced = _first_out_of_order(
        [name for name in expected.stages if name in order],
        [name for name in order if name in expected.stages],
    )
    rows = []
    for name in names:
        if name in skipped:
            continue
        own = gate.judge([_own(clip, run, name) for clip, run in clips])
        if name in misplaced:
            own = replace(own, faults=(*own.faults, misplaced[name]))
        rows.append(Row(name, name.partition(".")[0], own, _fed(clips, name, gate)))
    made = (expected.about, runs[0].about)
    return Comparison(tuple(rows), tuple(skipped), made, clips=len(clips))


def _own(clip: Dump, run: Candidate, name: str) -> Pair:
    """Return a stage of the whole run, beside the reference's."""
    for stages, fault in ((clip.stages, "missing in the reference"), (run.stages, "missing")):
        if name not in stages:
            return Pair(clip.name, Stage("", "text"), StageVerdict((fault,)))
    return _pair(clip, run, name, run.stages[name], None, clip.floor.get(name))


def _fed(
    clips: Sequence[tuple[Dump, Candidate]], name: str, gate: StageJudge
) -> StageVerdict | None:
    """Return the verdict on a stage made of the reference's values; None where it is not known."""
    pairs = []
    for clip, run in clips:
        if name not in run.alone:
            return None
        noise = clip.alone.get(name, clip.floor.get(name))
        pairs.append(_pair(clip, run, name, run.alone[name], run.nodes[name], noise))
    return gate.judge(pairs)


def _pair(
    clip: Dump, run: Candidate, name: str, actual: Found, node: str | None, noise: Any
) -> Pair:
    """Return a stage beside the reference's, with the noise that it may have.

    `node` is the one that was run alone; None for the whole run.
    """
    expected, floor = clip.stages[name], clip.about.get("floor", {})
    if alike(clip.about, run.how, node):
        return Pair(clip.name, expected, actual, noise, REFERENCE)
    # Without the floor's node alone, its whole run had other values to start from.
    if name in (clip.alone if node else clip.floor) and alike(floor, run.how, node):
        return Pair(clip.name, expected, actual, noise, FLOOR)
    as_reference, as_floor = (same_precision(each, run.how, node) for each in (clip.about, floor))
    if "ways" in floor and as_reference and not as_floor:
        # The noise of bfloat16 is none that a float32 run on another backend has.
        return Pair(clip.name, replace(expected, floor=None), actual)
    return Pair(clip.name, expected, actual, noise)


def _first_out_of_order(expected: list[str], actual: list[str]) -> dict[str, str]:
    """Return the first stage that is out of order, with its fault."""
    for one, other in zip(expected, actual, strict=True):
        if one != other:
            return {one: f"out of order: {other} is there instead"}
    return {}


def _skips(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
