"""Check that padding is known to those who count frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from composer.graph.graph import facts_of

if TYPE_CHECKING:
    from composer.core.component import Bound
    from composer.graph.graph import CheckedComponent, Graph, Node


def report_padding(
    graph: Graph, components: Mapping[str, CheckedComponent], report: Callable[..., None]
) -> None:
    """Report frames with padding that go where frames are counted, without their mask."""
    marks = {}
    for node in graph.nodes.values():
        for out, mask in _masks(node, components).items():
            if out in node.outputs and mask in node.outputs:
                marks[node.outputs[out]] = node.outputs[mask]
    for node in graph.nodes.values():
        for port, mask in _masks(node, components).items():
            value = node.wires.get(port)
            if value in marks and mask not in node.wires:
                report(
                    "W280",
                    f"{node.run} counts the padding of ${value} as true frames",
                    "graph",
                    node.name,
                    "with",
                    port,
                    causes=(f"${marks[value]} marks the frames of ${value} that are no padding",),
                    hint=f"wire it: {mask}: ${marks[value]}",
                )


def report_lengths(
    graph: Graph, components: Mapping[str, CheckedComponent], report: Callable[..., None]
) -> None:
    """Report values as long as their clip that go where only one length is taken."""
    varying: dict[str, tuple[int, str, Callable[[int], str]]] = {}
    for node in graph.nodes.values():
        lengthen = facts_of(components, node.component).lengthen
        for name in node.outputs.values():
            port = graph.values[name].port
            if port is None or len(port.dims) < 2:
                continue
            for axis, dim in enumerate(port.dims):
                if dim in lengthen:
                    varying[name] = axis, node.run, lengthen[str(dim)]
    for node in graph.nodes.values():
        for key, name in node.wires.items():
            if name in varying and node.signature:
                axis, owner, setting = varying[name]
                wanted = graph.dims.bound(graph.values[name].dims[axis])
                if wanted and _fixes(node, key, axis, components):
                    _report_length(node, key, name, wanted, setting(wanted.value), owner, report)


def _fixes(node: Node, key: str, axis: int, components: Mapping[str, CheckedComponent]) -> bool:
    """Return whether an input takes one length of an axis alone."""
    dims = node.inputs[key][0].dims
    if axis >= len(dims):
        return False
    return isinstance(dims[axis], int) or dims[axis] in facts_of(components, node.component).dims


def _report_length(
    node: Node,
    key: str,
    name: str,
    wanted: Bound,
    setting: str,
    owner: str,
    report: Callable[..., None],
) -> None:
    """Report a value that has the one length that an input takes only by chance."""
    report(
        "L335",
        f"${name} is as long as its clip, but {node.run} takes {wanted.value} frames and no other "
        "number",
        "graph",
        node.name,
        "with",
        key,
        causes=(f"{wanted.value} comes from {wanted.witness}",),
        severity="warning",
        hint=f"pad it: config: {{{setting}}} of {owner}" if setting else "wire another value",
    )


def _masks(node: Node, components: Mapping[str, CheckedComponent]) -> Mapping[str, str]:
    """Return by port of a node the port that marks its frames."""
    return facts_of(components, node.component).masks
