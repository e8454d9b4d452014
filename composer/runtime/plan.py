"""Order a task's work: what runs, what crosses backends and dtypes, what is dropped when."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from composer.core.errors import ComposerError, Problem
from composer.core.placement import HOST
from composer.core.ports import Port, item_bytes, matching_alternative
from composer.graph.graph import facts_of, float_of

if TYPE_CHECKING:
    from composer.graph.checked import Checked
    from composer.graph.graph import Graph, Node, Value


@dataclass(frozen=True)
class PlannedConversion:
    """A value that changes on its way into one input: backend, dtype, sample rate or space."""

    input: str
    value: str
    give: str
    want: str

    def __str__(self) -> str:
        return f"${self.value} -> {self.input}: {self.give} -> {self.want}"


@dataclass(frozen=True)
class Step:
    """One node, ready to run: what each input must arrive as, and which values end with it."""

    node: Node
    backend: str
    wants: Mapping[str, Port]
    crossings: tuple[PlannedConversion, ...]
    drops: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """A task's steps in order, the bytes of the components that it needs, and what it gives.

    `outputs` are those of the task that the steps make, from name to value name.
    """

    graph: Graph
    steps: tuple[Step, ...]
    nbytes: Mapping[str, int]
    outputs: Mapping[str, str]

    @property
    def unread(self) -> frozenset[str]:
        """Return the inputs that no step reads."""
        read: set[str] = set()
        for step in self.steps:
            read.update(step.node.wires.values())
        return frozenset(self.graph.inputs.keys() - read - set(self.outputs.values()))

    @property
    def crossings(self) -> tuple[PlannedConversion, ...]:
        """Return the cast ledger."""
        found: list[PlannedConversion] = []
        for step in self.steps:
            found.extend(step.crossings)
        return tuple(found)

    def value_bytes(self, name: str) -> int | None:
        """Return a value's bytes where headers fix every dim, else None."""
        value = self.graph.values[name]
        if value.port is None or value.port.kind != "tensor":
            return None
        total = item_bytes(value.port.dtype or "f32")
        for dim in value.dims:
            length = self.graph.length(dim)
            if length is None:
                return None
            total *= length
        return total


def plan(
    bundle: Checked,
    task: str,
    keep: Iterable[str] = (),
    fed: Container[str] = (),
    only: Collection[str] | None = None,
) -> Plan:
    """Plan a task of a checked bundle; values in `keep` are never dropped.

    A node all of whose outputs are fed or read by nobody is left out, and with `only` every node
    but those.
    """
    graph = bundle.graphs[task]
    nodes, outputs = list(graph.nodes.values()), dict(graph.outputs)
    if only is not None:
        nodes = [node for node in nodes if node.name in only]
        outputs = _made_by(nodes, graph)
    steps: list[Step] = []
    alive = {*outputs.values(), *keep}
    for node in reversed(nodes):
        read = set(node.wires.values())
        made = set(node.outputs.values())
        if not any(value in alive and value not in fed for value in made):
            continue
        unused = (read | (made & graph.values.keys())) - alive
        steps.append(_step(bundle, graph, node, tuple(sorted(unused))))
        alive |= read
    used: dict[str, None] = {}
    for step in reversed(steps):
        for name in step.node.components:
            used[name] = None
    for name, detector in graph.detectors.items():
        if any(name in step.node.wires.values() for step in steps):
            used[detector] = None
    nbytes = {name: facts_of(bundle.components, name).nbytes for name in used}
    return Plan(graph, tuple(reversed(steps)), nbytes, outputs)


def _made_by(nodes: Iterable[Node], graph: Graph) -> dict[str, str]:
    """Return those of a graph's outputs that some of its nodes make."""
    made: set[str] = set()
    for node in nodes:
        made.update(node.outputs.values())
    return {name: value for name, value in graph.outputs.items() if value in made}


def _step(bundle: Checked, graph: Graph, node: Node, drops: tuple[str, ...]) -> Step:
    values = {key: graph.values[name] for key, name in node.wires.items()}
    first = next(iter(values.values()), None)
    known = bundle.components.get(node.component or "")
    backend = node.backend(known, first)
    wants, crossings = {}, []
    for key, value in values.items():
        want = _want(bundle, node, key, value, first)
        wants[key] = want
        # Marks arrive as NumPy's everywhere: they are few and plain.
        home = HOST if want.dtype == "bool" else backend
        give_text, want_text = _text(value.port, value.backend), _text(want, home)
        if want.kind == "audio":
            give_text = want_text = "audio at its own rate"
            if want.dims:
                want_text = f"audio at {want.dims[0]} Hz"
        if key in node.converts:
            change = node.converts[key]
            there = f"{change.dtype} in {bundle.components[change.component].cls.backend}"
            if give_text != there:
                crossings.append(
                    PlannedConversion(f"{node.name}.{key}", value.name, give_text, there)
                )
            target = f"{node.name}.{key}"
            crossings.append(PlannedConversion(target, value.name, change.source, change.target))
            give_text = there
        if give_text != want_text:
            crossings.append(
                PlannedConversion(f"{node.name}.{key}", value.name, give_text, want_text)
            )
    return Step(node, backend, wants, tuple(crossings), drops)


def _want(bundle: Checked, node: Node, key: str, value: Value, first: Value | None) -> Port:
    """Return the alternative that is wired, with the dtype that the call needs filled in."""
    assert node.signature is not None
    assert value.port is not None
    port = matching_alternative(node.signature.inputs[key], value.port)
    assert port is not None
    if port.kind != "tensor" or port.dtype:
        return port
    if node.component is None:
        dtype = float_of(None, first)
    elif "_" in port.dims:
        dtype = value.port.dtype  # any length will do: it only counts rows, which needs no cast
    else:
        dtype = bundle.components[node.component].dtype
    return Port(port.kind, dtype, port.dims, port.space)


def _text(port: Any, backend: str) -> str:
    if port is None or port.kind != "tensor":
        return "as it is"
    return f"{port.dtype} in {backend}"


def require_complete(planned: Plan, given: Collection[str], tapped: Collection[str]) -> None:
    """Refuse a partial run that would read, or is to keep, what nothing gives."""
    there, problems = set(given), []
    for step in planned.steps:
        for value in dict.fromkeys(step.node.wires.values()):
            if value not in there:
                message = f"'{step.node.name}' reads ${value}, which is not run"
                problems.append(Problem("R547", message, hint=f"feed {value}"))
        there |= set(step.node.outputs.values())
    for value in sorted(set(tapped) - there):
        problems.append(Problem("R547", f"${value} is to be kept, and nothing that runs makes it"))
    if problems:
        raise ComposerError(problems)
