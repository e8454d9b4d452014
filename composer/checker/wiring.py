"""Type a task's graph: resolve each name, unify dims, and compare dtypes and embedding spaces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from composer.checker.adapters import check_adapters, unknown_adapters
from composer.checker.arguments import read_arguments
from composer.checker.detector import check_detector
from composer.checker.expectations import Expectations
from composer.checker.lint import lint
from composer.checker.name_resolver import NameResolver
from composer.checker.options import option_conflicts, read_option
from composer.checker.outputs import OutputTyper
from composer.checker.picture_lists import report_loose_items
from composer.checker.row_positions import RowPositions
from composer.checker.shared_nodes import origin_of
from composer.checker.wire_checker import WireChecker
from composer.core.call_signature import ADAPTERS, OUT, CallSignature, Option
from composer.core.errors import Problem
from composer.core.ports import Ports, parse_port
from composer.core.problems import Problems
from composer.core.suggest import listed, with_nearest
from composer.graph.dims import Length
from composer.graph.graph import CheckedComponent, Conversion, Graph, Node, Value
from composer.manifest.validation_faults import describe

if TYPE_CHECKING:
    from composer.manifest import Input, Manifest, Task
    from composer.manifest import Node as NodeEntry

INPUT_PORTS = {"ids": "i64 T", "mask": "bool T", "images": "image"}


def wire(
    manifest: Manifest, task: Task, components: Mapping[str, CheckedComponent]
) -> tuple[Graph, list[Problem]]:
    """Type one task against its components and return the graph with every problem found."""
    return _Wiring(manifest, task, components).graph()


@dataclass
class _Wiring:
    manifest: Manifest
    task: Task
    components: Mapping[str, CheckedComponent]
    values: dict[str, Value] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    spaces: dict[str, dict[str, str | None]] = field(default_factory=dict)
    problems: Problems = field(default_factory=Problems)

    def __post_init__(self) -> None:
        self.fit = WireChecker(self.components, self.values, self.report)
        self.marks = RowPositions(self.values, self.nodes, self.fit, self.report)
        self.expectations = Expectations(self.values, self.fit.dims, self.report)
        self.outputs = OutputTyper(self.components, self.values, self.spaces, self.fit, self.report)
        self.names = NameResolver(
            self.manifest, self.task, self.components, self.values, self.nodes, self.report
        )

    def graph(self) -> tuple[Graph, list[Problem]]:
        self.values |= {name: self.input(name, each) for name, each in self.task.inputs.items()}
        report_loose_items(self.task, self.report)
        for name, call in self.task.graph.items():
            self.nodes[name] = self.node(name, call)
            self.marks.check(self.nodes[name])
            self.values |= self.outputs.of(self.nodes[name])
            self.expectations.check(self.nodes[name], call)
        outputs = {}
        for name, reference in self.task.outputs.items():
            value = self.names.resolve(reference, "outputs", name)
            if value:
                outputs[name] = value.name
                self.check_joinable(name, value)
        task, inputs = self.task.name, self.task.inputs
        graph = Graph(task, inputs, self.nodes, self.values, outputs, self.fit.dims)
        if not self.problems:
            check_adapters(graph, self.components, self.report)
            lint(graph, self.components, self.report)
        return graph, self.problems

    def check_joinable(self, name: str, value: Value) -> None:
        """Report an output that cannot be joined from the pieces of a split input."""
        split = [name for name, entry in self.task.inputs.items() if entry.in_pieces]
        port = value.port
        if not split or port is None or port.kind == "text":
            return
        if port.kind != "tensor" or len(port.dims) != 1:
            self.report(
                "W225",
                f"${split[0]} is split, and '{port}' cannot be joined from its pieces",
                "outputs",
                name,
                hint="texts can be joined, and tensors of one axis",
            )

    def report(
        self, code: str, message: str, *at: str | int, key: bool = False, **more: Any
    ) -> None:
        place = self.manifest.place(*self.task.at, *at, key=key)
        causes = (*more.pop("causes", ()), *origin_of(self.manifest, self.task, at))
        self.problems.add(Problem(code, message, place, causes, **more))

    def input(self, name: str, entry: Input) -> Value:
        text = INPUT_PORTS.get(entry.type, entry.type)
        if entry.type == "tensor":
            text = entry.port or "_"
        port = parse_port(text)
        dims: list[Length] = []
        for axis, dim in enumerate(port.dims):
            dims.append(("input", name, f"_{axis}" if dim == "_" else dim))
            if isinstance(dim, int):
                self.fit.dims.unify(dims[-1], dim, f"the input {name}: '{port}'")
        check_detector(name, entry, self.manifest, self.components, self.report)
        return Value(name, port, tuple(dims))

    def node(self, name: str, entry: NodeEntry) -> Node:
        component, method, signature = self.names.resolve_run(name, entry.run)
        node = Node(name, entry.run, component, method, signature, {}, {}, {}, {})
        if signature is None:
            return replace(node, wires=self.resolve_references(name, entry), outputs={OUT: name})
        self.report_missing_inputs(name, component, entry, signature)
        arguments, signature = read_arguments(name, entry, signature, self.report)
        node = replace(node, signature=signature)
        wires: dict[str, str] = {}
        literals: dict[str, str] = {}
        options: dict[str, Any] = {}
        converts: dict[str, Conversion] = {}
        scope: dict[str, str | None] = {}
        order = [*signature.inputs, *arguments]
        for key, (given, at) in sorted(arguments.items(), key=lambda item: order.index(item[0])):
            if key in signature.options:
                options |= self.option(name, component, key, signature.options[key], given)
            elif key not in signature.inputs:
                self.report_unknown_input(name, entry.run, component, key, signature)
            elif isinstance(given, str) and given.startswith("$") and not given.startswith("$$"):
                value = self.names.resolve(given, *at)
                if value:
                    wires[key] = value.name
                    conversion = self.fit.wire(node, key, given, value, scope, at)
                    if conversion:
                        converts[key] = conversion
            elif isinstance(given, str) and any(p.kind == "text" for p in signature.inputs[key]):
                literals[key] = given.removeprefix("$")
            else:
                ports = tuple(self.fit.numbered(node, port) for port in signature.inputs[key])
                why = self.names.reason(component, key)
                self.report_no_reference(f"{entry.run}.{key}", ports, given, at, why)
        checked = self.components.get(component or "")
        if checked and options.keys() == entry.with_.keys() & signature.options.keys():
            for message in option_conflicts(checked, method, signature, options):
                self.report("W216", message, "graph", name, "with", key=True)
        self.spaces[name] = scope
        node = replace(
            node,
            wires=wires,
            literals=literals,
            options=options,
            outputs=signature.output_names(name),
            converts=converts,
            range=entry.range,
        )
        return replace(node, outputs=self.without_idle_marks(node, entry))

    def without_idle_marks(self, node: Node, entry: NodeEntry) -> dict[str, str]:
        """Return a node's outputs without the marks of inputs that have no rows.

        These outputs are named after the inputs.
        """
        assert node.signature is not None
        found = {}
        for out, port in node.signature.returns.items():
            wired = self.outputs.has_rows(node, out)
            resolved = node.wires_of(out) or out in node.literals
            unresolved = out in entry.with_ and not resolved
            if out not in port.marks or wired or unresolved:
                found[out] = node.outputs[out]
        return found

    def report_no_reference(
        self,
        label: str,
        ports: Ports,
        given: Any,
        at: Sequence[str | int],
        causes: tuple[str, ...],
    ) -> None:
        expected_ports = " | ".join(map(str, ports))
        alone, hint = f"${given}", None
        if isinstance(given, list) and len(given) == 1:
            alone = given[0]
        if isinstance(alone, str) and alone.removeprefix("$") in self.values:
            hint = f"write {alone}"
        message = f"{label} needs a $reference to '{expected_ports}', not {describe(given)}"
        self.report("W205", message, *at, causes=causes, hint=hint)

    def resolve_references(self, name: str, entry: NodeEntry) -> dict[str, str]:
        """Resolve the references of a node whose ports are unknown."""
        wires: dict[str, str] = {}
        for key, given in entry.with_.items():
            if isinstance(given, str) and given.startswith("$") and not given.startswith("$$"):
                value = self.names.resolve(given, "graph", name, "with", key)
                if value:
                    wires[key] = value.name
        return wires

    def report_unknown_input(
        self, name: str, run: str, component: str | None, key: str, signature: CallSignature
    ) -> None:
        takes = [*signature.inputs, *signature.options]
        message, why = f"{run} has no input '{key}'", self.names.why(component, key)
        if not why:
            message = with_nearest(message, key, takes)
        hint = self.names.input_hint(component, key) + f"it takes: {listed(takes)}"
        self.report("W203", message, "graph", name, "with", key, key=True, causes=why, hint=hint)

    def report_missing_inputs(
        self, name: str, component: str | None, entry: NodeEntry, signature: CallSignature
    ) -> None:
        required = [port for port in signature.inputs if port not in signature.optional]
        required += (key for key in signature.options if key in signature.required_options)
        for port in required:
            if port not in entry.with_:
                ports = signature.inputs.get(port, ())
                message = f"{entry.run} needs input '{port}', which is not wired"
                causes = self.fit.witnesses(component, ports) + self.names.reason(component, port)
                hint = f"add it under 'with': {port}: $...{self.names.giver(component, ports)}"
                if not ports:
                    message = f"{entry.run} needs the option '{port}'"
                    hint = f"add it under 'with'; composer explain {entry.run} describes it"
                self.report("W204", message, "graph", name, key=True, causes=causes, hint=hint)

    def option(
        self, name: str, component: str | None, key: str, option: Option, given: Any
    ) -> dict[str, Any]:
        at = ("graph", name, "with", key)
        if isinstance(given, str) and given.startswith("$"):
            self.report("W218", f"'{key}' is an option: it takes a literal, not {given}", *at)
            return {}
        try:
            value = read_option(key, option, given)
        except ValueError as error:
            self.report("W216", str(error), *at)
            return {}
        if key == ADAPTERS:
            for message, hint in unknown_adapters(self.components, component, value):
                self.report("W224", message, *at, hint=hint)
        return {key: value}
