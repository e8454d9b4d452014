"""Compare what a node gives with what its manifest expects of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from composer.core.backend import SHORT
from composer.core.ports import Port, parse_port
from composer.core.suggest import listed, with_nearest
from composer.graph.dims import DimUnifier, Length
from composer.graph.graph import ANY, Node, Value

if TYPE_CHECKING:
    from composer.manifest import Node as NodeEntry


@dataclass
class Expectations:
    """The expectations of one task, node by node."""

    values: Mapping[str, Value]
    dims: DimUnifier
    report: Callable[..., None]

    def check(self, node: Node, entry: NodeEntry) -> None:
        """Compare a node's typed outputs with its `expect`, and find what its `range` is of."""
        if node.signature is None:
            return
        for out, text in entry.expect.items():
            if out not in node.outputs:
                message = with_nearest(f"'{node.name}' has no output '{out}'", out, node.outputs)
                hint = f"it has: {listed(node.outputs)}"
                self.report("W230", message, *_at(node, out), key=True, hint=hint)
                continue
            value = self.values[node.outputs[out]]
            if value.port is not None:
                self.compare(node, out, value, value.port, parse_port(text))
        if entry.range and not any(map(self._may_have_numbers, node.outputs.values())):
            message = f"'{node.name}' gives no numbers, so they have no range"
            self.report("W230", message, "graph", node.name, "range", key=True, hint="remove it")

    def _may_have_numbers(self, name: str) -> bool:
        port = self.values[name].port
        return port is None or _has_numbers(port)

    def compare(self, node: Node, out: str, value: Value, actual: Port, expected: Port) -> None:
        """Compare one output; a length that is not known yet is bound, and compared in each run."""
        other_dtype = expected.dtype and actual.dtype and expected.dtype != actual.dtype
        other_space = expected.space and ANY != actual.space != expected.space
        other_rank = expected.kind == "tensor" and len(expected.dims) != len(actual.dims)
        if expected.kind != actual.kind or other_dtype or other_space or other_rank:
            self._report_difference(node, out, value, expected)
            return
        for axis, (dim, length) in enumerate(zip(expected.dims, value.dims, strict=False)):
            if dim == "_":
                continue
            wanted: Length = dim if isinstance(dim, int) else ("expect", node.name, dim)
            witness = f"what '{node.name}' expects: '{expected}'"
            conflict = self.dims.unify(length, wanted, witness)
            if conflict:
                causes = []
                if not isinstance(length, int):
                    causes.append(f"axis {axis} comes from {conflict.left.witness}")
                self._report_difference(node, out, value, expected, *causes)
                return

    def _report_difference(
        self, node: Node, out: str, value: Value, expected: Port, *causes: str
    ) -> None:
        """Report an output that is not as expected."""
        assert value.port is not None
        dims: list[int | str] = []
        for length, dim in zip(value.dims, value.port.dims, strict=True):
            bound = self.dims.bound(length)
            dims.append(bound.value if bound else dim)
        shown = Port(value.port.kind, value.port.dtype, tuple(dims), value.port.space)
        message = f"'{node.name}' expects '{expected}' of {out}, which is '{shown}'"
        self.report("W230", message, *_at(node, out), causes=causes, hint=_dtype_hint(expected))


def _dtype_hint(expected: Port) -> str | None:
    """Return how a dtype is spelled that stands where a dim may, such as float32."""
    for dim in expected.dims:
        if dim in SHORT:
            return f"'{dim}' is a dim there: the dtype is written {SHORT[str(dim)]}"
    return None


def _at(node: Node, out: str) -> tuple[str, ...]:
    return ("graph", node.name, "expect", out)


def _has_numbers(port: Port) -> bool:
    return port.kind == "tensor" and port.dtype != "bool"
