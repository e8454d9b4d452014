"""Check a value wired into an input against its port: kind, dtype, rank, dims and space."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from composer.checker.wire_hints import WireHints
from composer.core.call_signature import OUT, Derived
from composer.core.component import Bound
from composer.core.ports import Port, can_cast, matching_alternative
from composer.core.suggest import listed
from composer.graph.dims import Conflict, DimUnifier, Length
from composer.graph.graph import (
    ANY,
    CheckedComponent,
    Conversion,
    Node,
    Value,
    facts_of,
    methods_of,
)

Scope = dict[str, str | None]
SETTING = re.compile(r"(\w+): config\.([\w.]+)( \d+)?")  # of a component, as a witness has it
TRAINED_TOGETHER = "put a projector between them, or use parts that were trained together"


class WireChecker:
    """The dims of one task, unified wire by wire."""

    def __init__(
        self,
        components: Mapping[str, CheckedComponent],
        values: Mapping[str, Value],
        report: Callable[..., None],
    ) -> None:
        self.components = components
        self.values = values
        self.report = report
        self.dims = DimUnifier()
        self.hints = WireHints(values, self.dims)
        for component, checked in components.items():
            for symbol, bound in checked.dims.items():
                witness = bound.witness
                if witness.startswith("config."):
                    witness = f"{component}: {witness}"
                self.dims.unify(("component", component, symbol), bound.value, witness)

    def wire(
        self,
        node: Node,
        key: str,
        given: str,
        value: Value,
        scope: Scope,
        at: Sequence[str | int],
    ) -> Conversion | None:
        """Check the value that `given` names against the port `key` of a node.

        `scope` binds the node's space variables across its wires, `at` is the wire's place.
        Return the conversion that the value needs first.
        """
        assert node.signature is not None
        actual, ports = value.port, node.signature.inputs[key]
        label = f"{node.run}.{key}"
        if actual is None:
            return None
        port = matching_alternative(ports, actual)
        if port is None:
            expected_ports = " or ".join(f"'{self.numbered(node, p)}'" for p in ports)
            message = f"{given} is '{actual}' but {label} needs {expected_ports}"
            reason = facts_of(self.components, node.component).missing_reasons.get(key)
            causes = (reason,) if reason else ()
            hint = self.hints.kind(actual, ports)
            self.report("W211", message, *at, causes=causes, hint=hint)
            return None
        if actual.kind != "tensor":
            return None
        lengths = self.lengths(node, port)
        if not can_cast(actual.dtype, port.dtype):
            expected_ports = port.dtype or "floats"
            message = f"{given} is {actual.dtype or 'floats'} but {label} needs {expected_ports}"
            self.report("W211", message, *at, hint=self.hints.dtype(value, port, lengths))
        if len(actual.dims) != len(port.dims):
            self.report(
                "W208",
                f"{given} has {_axes(self.hints.numbers(actual, value.dims))} but {label} needs "
                f"{_axes(self.hints.numbers(port, lengths))}",
                *at,
                hint=self.hints.axes(value, port, lengths),
            )
            return None
        swapped = self.hints.order(value, port, lengths)
        for axis, (expected, actual_dim) in enumerate(zip(port.dims, value.dims, strict=True)):
            if expected == "_":
                continue
            length = self.length(node, expected)
            conflict = self.dims.unify(actual_dim, length, f"{label}: '{port}'")
            if conflict:
                left, right = conflict.left, conflict.right
                self.report(
                    "W209",
                    f"axis {axis} of {given} is {left.value} but {label} needs {right.value}",
                    *at,
                    causes=(_cause(left), _cause(right)),
                    hint=swapped or _hint_for_lengths(port, left, right),
                )
        return self.space(node, key, port, given, value, scope, at)

    def space(
        self,
        node: Node,
        key: str,
        port: Port,
        given: str,
        value: Value,
        scope: Scope,
        at: Sequence[str | int],
    ) -> Conversion | None:
        actual = value.port.space if value.port else None
        label = f"{node.run}.{key}"
        if port.space is None:
            return None
        if port.space[0].islower():
            expected: str | None = f"{node.component}.{port.space}"
            first = label
        elif port.space not in scope:
            scope[port.space] = actual
            scope[f"{port.space} from"] = given
            return None
        else:
            expected, first = scope[port.space], f"{scope[port.space + ' from']}"
        if actual == expected or ANY in (actual, expected):
            return None
        found = self._conversion(actual, expected)
        if found is None:
            ours = f"'{expected}'" if expected else "no declared space"
            others = f"the space '{actual}'" if actual else "no declared space"
            needs = f"{label} needs" if first == label else f"{first} is in"
            message = f"{given} is in {others} but {needs} {ours}"
            self.report("W210", message, *at, hint=self._hint_for_space(expected))
        return found

    def _conversion(self, actual: str | None, expected: str | None) -> Conversion | None:
        """Return the method that converts between two spaces of a component."""
        owner = (actual or "").partition(".")[0]
        if actual is None or expected is None or expected.partition(".")[0] != owner:
            return None
        dtype = facts_of(self.components, owner).dtype
        for name, signature in methods_of(self.components, owner).items():
            if signature.converts:
                (ports,) = signature.inputs.values()
                leads = (f"{owner}.{ports[0].space}", f"{owner}.{signature.returns[OUT].space}")
                if leads == (actual, expected):
                    return Conversion(owner, name, dtype, actual, expected)
        return None

    def _hint_for_space(self, expected: str | None) -> str | None:
        """Return a hint with the values in a space, and how to declare another one."""
        if expected is None:
            return None
        hint = f"if its component was trained into it, declare it there: emits: {expected}"
        users = [f"${v.name}" for v in self.values.values() if v.port and v.port.space == expected]
        if users:
            hint = f"in that space: {listed(users)}; {hint}"
        return hint

    def witnesses(self, component: str | None, ports: Iterable[Port]) -> tuple[str, ...]:
        """Return the witnesses for the dims of a component's ports."""
        known = facts_of(self.components, component).dims
        dims: dict[str, None] = {}
        for port in ports:
            dims |= dict.fromkeys(map(str, port.dims))
        return tuple(_cause(known[dim]) for dim in dims if dim in known)

    def same_rows(self, left: str, right: str) -> Conflict | None:
        """Unify the numbers of rows of two values."""
        rows, others = self.values[left].dims, self.values[right].dims
        if len(rows) != 2 or len(others) != 2:
            return None
        return self.dims.unify(rows[0], others[0], "a port")

    def total_rows(self, names: Iterable[str]) -> Bound | None:
        """Return the number of rows of several values together; None if it is not known."""
        total, witnesses = 0, []
        for name in names:
            dims = self.values[name].dims
            if not dims:
                return None
            bound = self.dims.bound(dims[0], f"${name}")
            if bound is None:
                return None
            total += bound.value
            witnesses.append(f"{bound.value} of {bound.witness}")
        return Bound(total, " and ".join(witnesses))

    def lengths(self, node: Node, port: Port) -> list[Length]:
        """Return the variables of a port's dims."""
        return [self.length(node, dim) for dim in port.dims]

    def numbered(self, node: Node, port: Port) -> Port:
        """Return a port of a node with the numbers that are known of it."""
        return self.hints.numbered(port, self.lengths(node, port))

    def length(self, node: Node, dim: int | str) -> Length:
        """Return the variable of a port's dim: the component's, or the node's own."""
        if isinstance(dim, int):
            return dim
        checked = self.components.get(node.component or "")
        if checked and checked.facts and dim in checked.facts.dims:
            return ("component", node.component, dim)
        if node.signature and dim in node.signature.lengths:
            self._derive(node, dim, node.signature.lengths[dim])
        return ("node", node.name, dim)

    def _derive(self, node: Node, dim: str, rule: Derived) -> None:
        """Bind a length that follows from another one, where that is known."""
        source = self.dims.bound(self.length(node, rule.of))
        if source:
            value = rule.count(source.value)
            witness = f"{node.run} of {source.value} rows: {rule.words}"
            self.dims.unify(("node", node.name, dim), value, witness)


def _cause(bound: Bound) -> str:
    return f"{bound.value} comes from {bound.witness}"


def _axes(dims: Sequence[int | str]) -> str:
    noun = "axis" if len(dims) == 1 else "axes"
    return f"{len(dims)} {noun} [{' '.join(map(str, dims))}]"


def _hint_for_lengths(port: Port, left: Bound, right: Bound) -> str | None:
    """Return a hint for two lengths that differ: a setting that one of them is, or a projector."""
    for bound, other in ((left, right), (right, left)):
        found = SETTING.fullmatch(bound.witness)
        if found:
            return f"{found[1]} would fit with {found[2]}: {other.value} in its config"
    return TRAINED_TOGETHER if port.space else None
