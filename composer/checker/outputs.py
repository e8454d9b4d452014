"""Type the outputs of a node: dtype, lengths, embedding space, and whose rows they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import chain

from composer.checker.wire_checker import Scope, WireChecker
from composer.core import registry
from composer.core.call_signature import CallSignature
from composer.core.operator import Operator
from composer.core.ports import Port, is_float, matching_alternative
from composer.graph.dims import Length
from composer.graph.graph import CheckedComponent, Node, Value, float_of

MOST_ORIGINS = 1000  # values that are named as those whose rows a value has


class OutputTyper:
    """What the nodes of one task give; `spaces` has the space variables of each, by node."""

    def __init__(
        self,
        components: Mapping[str, CheckedComponent],
        values: Mapping[str, Value],
        spaces: Mapping[str, Scope],
        fit: WireChecker,
        report: Callable[..., None],
    ) -> None:
        self.components = components
        self.values = values
        self.spaces = spaces
        self.fit = fit
        self.report = report

    def of(self, node: Node) -> Iterator[tuple[str, Value]]:
        """Yield a node's outputs."""
        checked = self.components.get(node.component or "")
        if node.signature is None:
            yield node.name, Value(node.name, None)
            return
        first = self.values.get(node.wires.get(next(iter(node.signature.inputs), ""), ""))
        if first is None and checked is None:
            # If an operator's first input is wrong, its outputs are unknown.
            yield node.name, Value(node.name, None)
            return
        operator = None
        if node.component is None:
            operator = registry.operator(node.run)
            self._derive_lengths(node, node.signature, operator)
        emits = checked.emits if checked else None
        backend = node.backend(checked, first)
        for out, name in node.outputs.items():
            port = node.signature.returns[out]
            dtype = port.dtype
            if port.kind == "tensor" and dtype is None:
                dtype = float_of(checked, first)
            space = self._space_of(node, port, emits if is_float(dtype) else None)
            if operator and operator.keeps_space:
                kept = operator.keeps_space(**operator.options(node.options))
                space = space if kept else None
            dims: list[Length] = []
            for axis, dim in enumerate(port.dims):
                own = ("node", node.name, f"_{out}{axis}")
                dims.append(own if dim == "_" else self.fit.length(node, dim))
            rows = self.rows_of(node, name, port, operator)
            marked = [node.wires_of(each) for each in port.marks if self.has_rows(node, each)]
            marks = tuple(chain.from_iterable(marked))
            typed = replace(port, dtype=dtype, space=space)
            yield name, Value(name, typed, tuple(dims), backend, rows, marks)

    def _derive_lengths(self, node: Node, signature: CallSignature, operator: Operator) -> None:
        """Bind what an operator computes of the lengths of its inputs, or report what it cannot."""
        known, shapes = {}, []
        for key, ports in signature.inputs.items():
            shape = []
            for dim in ports[0].dims:
                bound = self.fit.dims.bound(self.fit.length(node, dim))
                shape.append(str(bound.value) if bound else "?")
                if bound:
                    known[str(dim)] = bound.value
            shapes.append(f"{key} [{', '.join(shape)}]")
        derived: Mapping[str, int] = {}
        if operator.joins:
            (returned,) = signature.returns.values()
            rows = [str(ports[0].dims[0]) for ports in signature.inputs.values()]
            if known.keys() >= set(rows):
                derived = {str(returned.dims[0]): sum(known[dim] for dim in rows)}
        elif operator.lengths and node.options.keys() >= operator.required_options:
            try:
                derived = operator.lengths(known, **operator.options(node.options))
            except ValueError as error:
                self.report("W229", f"{node.run} {error}", "graph", node.name, "with", key=True)
        for symbol, number in derived.items():
            witness = f"{node.run} of {', '.join(shapes)}"
            self.fit.dims.unify(("node", node.name, symbol), number, witness)

    def rows_of(
        self, node: Node, name: str, port: Port, operator: Operator | None
    ) -> tuple[str, ...]:
        """Return the names of the values whose rows an output has, in order.

        Rows stay the same where an output's first axis is that of an input, as in a projector.
        Those of very many values have the name of what joins them.
        """
        assert node.signature is not None
        if operator and operator.joins:
            rows: list[str] = []
            for wire in node.wires.values():
                rows += self.values.get(wire, Value(wire, None)).origin
            return tuple(rows) if len(rows) <= MOST_ORIGINS else (name,)
        first = port.dims[0] if port.dims else "_"
        if isinstance(first, int) or first == "_":
            return (name,)
        for key, wire in node.wires.items():
            value = self.values.get(wire)
            if value is None or value.port is None:
                continue
            chosen = matching_alternative(node.signature.inputs[key], value.port)
            if chosen and chosen.dims and chosen.dims[0] == first:
                return value.origin
        return (name,)

    def has_rows(self, node: Node, key: str) -> bool:
        """Return whether rows are wired into an input, and no text."""
        for wire in node.wires_of(key):
            value = self.values.get(wire)
            if value is not None and (value.port is None or value.port.kind == "tensor"):
                return True
        return False

    def _space_of(self, node: Node, port: Port, emits: str | None) -> str | None:
        """Return the embedding space of an output."""
        if port.kind != "tensor":
            return None
        if port.space is None:
            return emits
        if port.space[0].islower():
            return f"{node.component}.{port.space}"
        return self.spaces[node.name].get(port.space)
