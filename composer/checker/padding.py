"""Check that padding is known to those who count frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class ClipLengthAxis:
    """A value with an axis that is as long as its clip, and the config that makes it so many.

    `owner` is the run that makes it. `setting` gives None where the config does that already.
    """

    axis: int
    owner: str
    setting: Callable[[int], str | None]

    def hint(self, length: int) -> str:
        """Return how the axis comes to be so long."""
        setting = self.setting(length)
        return f"pad it: config: {{{setting}}} of {self.owner}" if setting else "wire another value"


def clip_length_axes(
    graph: Graph, components: Mapping[str, CheckedComponent]
) -> Mapping[str, ClipLengthAxis]:
    """Return the values of a graph that are as long as their clip, by name."""
    found = {}
    for node in graph.nodes.values():
        checked = components.get(node.component or "")
        lengthen = checked.facts.lengthen if checked and checked.facts else {}
        for name in node.outputs.values():
            port = graph.values[name].port
            for axis, dim in enumerate(port.dims if port else ()):
                if dim in lengthen and len(port.dims if port else ()) > 1:
                    found[name] = ClipLengthAxis(axis, node.run, lengthen[str(dim)])
    return found


def report_lengths(
    graph: Graph, components: Mapping[str, CheckedComponent], report: Callable[..., None]
) -> None:
    """Report values as long as their clip that go where only one length is taken."""
    varying = clip_length_axes(graph, components)
    for node in graph.nodes.values():
        for key, name in node.wires.items():
            if name in varying and node.signature:
                each = varying[name]
                wanted = graph.dims.bound(graph.values[name].dims[each.axis])
                if not wanted or not _fixes(node, key, each.axis, components):
                    continue
                if each.setting(wanted.value) is not None:
                    _report_length(node, key, name, wanted, each, report)


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
    each: ClipLengthAxis,
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
        hint=each.hint(wanted.value),
    )


def _masks(node: Node, components: Mapping[str, CheckedComponent]) -> Mapping[str, str]:
    """Return by port of a node the port that marks its frames."""
    return facts_of(components, node.component).masks
