"""Write a checked bundle's ports as entries of a lock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from composer.core.call_signature import WHEN, CallSignature
from composer.core.ports import Port, Ports
from composer.sources.lock.entries import LockedComponent, LockedTask, LockedVariant

if TYPE_CHECKING:
    from composer.graph.checked import Checked
    from composer.graph.graph import CheckedComponent, Graph, Value
    from composer.manifest import Input


def variant_entry(checked: Checked) -> LockedVariant:
    """Return the bound signatures of a bundle, whose facts are all known."""
    return LockedVariant(
        components={name: component_entry(checked) for name, checked in checked.components.items()},
        tasks={name: task_entry(graph) for name, graph in checked.graphs.items()},
    )


def component_entry(checked: CheckedComponent) -> LockedComponent:
    """Return a component's dims by symbol and its ports by method.

    The dtype of a family's rows is the chosen backend's, so that it is locked for a kind alone.
    """
    dtype = ""
    if checked.facts and not checked.is_family:
        dtype = checked.facts.dtype
    return LockedComponent(
        use=checked.use or checked.cls.name,
        dtype=dtype,
        dims={symbol: bound.value for symbol, bound in checked.dims.items()},
        ports={name: _signature(each) for name, each in (checked.methods or {}).items()},
    )


def task_entry(graph: Graph) -> LockedTask:
    """Return a task's inputs and outputs, with dims as numbers where headers fix them."""
    return LockedTask(
        inputs={name: _input(entry) for name, entry in graph.inputs.items()},
        outputs={name: _value(graph, graph.values[key]) for name, key in graph.outputs.items()},
    )


def _signature(signature: CallSignature) -> str:
    takes = []
    for name, ports in sorted(signature.inputs.items()):
        if name == WHEN:
            continue  # of the executor, and no port of the component
        mark = "?" if name in signature.optional else ""
        takes.append(f"{name}{mark}: {_ports(ports)}")
    return f"{'; '.join(takes)} -> {_named(signature.returns)}"


def _ports(ports: Ports) -> str:
    return " | ".join(map(str, ports))


def _named(ports: Mapping[str, Port]) -> str:
    return "; ".join(f"{name}: {port}" for name, port in sorted(ports.items()))


def _input(entry: Input) -> str:
    if not entry.port:
        return entry.type
    return f"{entry.type} {entry.port}"


def _value(graph: Graph, value: Value) -> str:
    port = value.port
    if port is None:
        return str(value)
    dims: list[int | str] = []
    for dim, symbol in zip(value.dims, port.dims, strict=True):
        number = graph.length(dim)
        dims.append(symbol if number is None else number)
    return str(Port(port.kind, port.dtype, tuple(dims), port.space)) or "scalar"
