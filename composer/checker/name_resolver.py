"""Resolve a graph's names: the method that a node runs, the value of a reference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from composer.checker.packages import install_hint
from composer.core import registry
from composer.core.call_signature import CALL, OUT, CallSignature
from composer.core.ports import Port
from composer.core.suggest import listed, with_nearest
from composer.graph.graph import CheckedComponent, Node, Value, facts_of, methods_of

if TYPE_CHECKING:
    from composer.manifest import Manifest, Task


class NameResolver:
    """The names of one task; `values` and `nodes` grow as its graph is typed."""

    def __init__(
        self,
        manifest: Manifest,
        task: Task,
        components: Mapping[str, CheckedComponent],
        values: Mapping[str, Value],
        nodes: Mapping[str, Node],
        report: Callable[..., None],
    ) -> None:
        self.manifest = manifest
        self.task = task
        self.components = components
        self.values = values
        self.nodes = nodes
        self.report = report

    def resolve_run(self, name: str, run: str) -> tuple[str | None, str, CallSignature | None]:
        """Return the component that a node runs, the method, and its signature if known."""
        owner, _, method = run.partition(".")
        if owner in self.components:
            methods = self.components[owner].methods
            wanted = method or CALL
            if methods is None:
                return owner, wanted, None
            if wanted in methods:
                return owner, wanted, methods[wanted]
            has = [f"{owner}.{each}".removesuffix(f".{CALL}") for each in methods]
            reason = f"has no method '{method}'" if method else "needs a method"
            message = f"{owner} ({self.components[owner].cls.name}) {reason}"
            why = self.why(owner, method)
            if not why:
                message = with_nearest(message, run, has)
            hint = f"it has: {listed(has)}"
            self.report("W201", message, "graph", name, "run", causes=why, hint=hint)
            return owner, wanted, None
        if run in registry.operator_names():
            return None, run, self._operator(name, run)
        if owner not in self.manifest.components:
            self._report_unknown_run(name, run)
        return None, method or CALL, None

    def _report_unknown_run(self, name: str, run: str) -> None:
        owner = run.partition(".")[0]
        options = [*registry.operator_names(), *self.manifest.components]
        message = f"'{owner}' is neither an operator nor a component"
        methods = [each for each in self.components if run in methods_of(self.components, each)]
        if methods:
            message = f"{message}; did you mean '{methods[0]}.{run}'?"
        else:
            message = with_nearest(message, owner, options)
        hint = install_hint(self.manifest, run) or f"there are: {listed(options)}"
        if run in (*registry.component_names(), *registry.use_names()):
            hint = f"{run} is a kind: declare a component, part: {{use: {run}}}, and run that"
        self.report("W202", message, "graph", name, "run", hint=hint)

    def _values_of(self, component: str) -> str:
        """Return how to write the values that a component gives."""
        nodes = [f"${name}" for name, node in self.nodes.items() if node.component == component]
        if nodes:
            return f"write the value of a node that runs it: {listed(nodes)}"
        return f"add a node that runs it above, x: {{run: {component}}}, and write $x"

    def _operator(self, name: str, run: str) -> CallSignature | None:
        """Return the signature of an operator, or report why it cannot be imported."""
        try:
            return registry.operator(run).signature
        except Exception as error:  # somebody's package is broken, whichever way
            why = f"{type(error).__name__}: {error}"
            message = f"'{run}' is installed but cannot be imported: {why}"
            hint = "reinstall the package that provides it"
            self.report("W221", message, "graph", name, "run", hint=hint)
            return None

    def why(self, component: str | None, name: str) -> tuple[str, ...]:
        """Return why a component does not have a method or port that others of its kind have."""
        reason = self.reason(component, name)
        if component is None or not reason:
            return ()
        return f"others of {self.components[component].cls.name} have it", *reason

    def reason(self, component: str | None, name: str) -> tuple[str, ...]:
        """Return what a component says of one of its methods or ports, if it says something."""
        found = facts_of(self.components, component).missing_reasons.get(name)
        return (found,) if found else ()

    def input_hint(self, component: str | None, key: str) -> str:
        """Return how a component comes to an input that it does not have."""
        hint = facts_of(self.components, component).input_hint
        return hint and f"{hint.replace('NAME', key)}; "

    def giver(self, component: str | None, ports: Iterable[Port]) -> str:
        """Return which method of the component gives what another one takes, if one does."""
        spaces = {port.space for port in ports if port.space and port.space[0].islower()}
        for name, signature in methods_of(self.components, component).items():
            if signature.converts:
                continue
            if any(port.space in spaces for port in signature.returns.values()):
                return f", as {component}.{name} gives it"
        return ""

    def resolve(self, reference: str, *at: str | int) -> Value | None:
        """Return the value of a reference, or report why there is none."""
        name = reference.removeprefix("$")
        base, _, out = name.partition(".")
        if not reference.startswith("$"):
            message = f"'{reference}' is not a reference"
            self.report("W205", message, *at, hint=f"write ${reference}")
            return None
        if name in self.values:
            return self.values[name]
        if base in self.nodes and self.nodes[base].signature is None:
            return Value(name, None)
        values = [f"${value}" for value in self.values]
        outs = [value for value in values if value.partition(".")[0] == f"${base}"]
        if not outs:
            message = f"'${base}' is not defined above this node"
            hint = f"defined here: {listed(values)}"
            if at[:2] == ("graph", base):
                message = f"'{base}' reads itself"
                hint = "a node can use only values defined above it"
            elif base in self.task.graph:
                hint = "move its node up: a node can use only values defined above it"
            elif base in self.manifest.components:
                hint = f"'{base}' is a component: {self._values_of(base)}"
            else:
                message = with_nearest(message, reference, values)
            self.report("W206", message, *at, hint=hint)
        elif out == OUT and base in self.values:
            message = f"'${base}' has no output '{OUT}' by that name"
            self.report("W207", message, *at, hint=f"what its node gives is ${base} itself")
        elif not out:
            hint = f"choose: {listed(outs)}"
            self.report("W207", f"'${base}' has several outputs", *at, hint=hint)
        else:
            message, why = f"'${base}' has no output '{out}'", self._why_unmarked(base, out)
            if not why:
                message = with_nearest(message, reference, outs)
            self.report("W207", message, *at, causes=why, hint=f"it has: {listed(outs)}")
        return None

    def _why_unmarked(self, node: str, out: str) -> tuple[str, ...]:
        """Return why a node does not give marks that it gives for an input with rows."""
        caller, entry = self.nodes.get(node), self.task.graph.get(node)
        if entry and out in entry.with_ and (caller is None or out not in caller.inputs):
            given = "none"
        elif caller is None or not _marks_rows(caller, out):
            return ()
        elif out in caller.wires:
            given = f"${caller.wires[out]}, a text"
        elif out in caller.literals:
            given = "a text"
        else:
            given = "not wired"
        return (f"its input '{out}' is {given}: there are no rows to mark",)


def _marks_rows(node: Node, out: str) -> bool:
    """Return whether an output marks the rows of the input that it is named after."""
    port = node.signature.returns.get(out) if node.signature else None
    return port is not None and out in port.marks
