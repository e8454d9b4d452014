"""Add nodes to a checked bundle that return its decoders' logits before each token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from composer.comparison.dump import STEPS
from composer.core.call_signature import OUT, CallSignature
from composer.graph.graph import Value

if TYPE_CHECKING:
    from composer.graph.checked import Checked
    from composer.graph.graph import Graph, Node

REPLAY = "replay"
IDS = "ids"


def with_steps(checked: Checked) -> Checked:
    """Return the bundle with a node `NODE_steps` beside each one that generates ids.

    It runs the component's method `replay`, which takes generate's inputs and the ids that it
    generated, and returns the logits [N, V] before each of them.
    """
    graphs = {name: _with_steps(checked, graph) for name, graph in checked.graphs.items()}
    return replace(checked, graphs=graphs)


def _with_steps(checked: Checked, graph: Graph) -> Graph:
    nodes, values = dict(graph.nodes), dict(graph.values)
    for node in graph.nodes.values():
        made = _replaying(checked, node)
        if made and made.name not in graph.nodes:
            nodes[made.name] = made
            name = made.outputs[OUT]
            assert made.signature is not None
            port = made.signature.returns[OUT]
            dims = tuple(("node", made.name, dim) for dim in port.dims)
            backend = checked.components[made.component or ""].cls.backend
            values[name] = Value(name, port, dims, backend)
    return replace(graph, nodes=nodes, values=values)


def _replaying(checked: Checked, node: Node) -> Node | None:
    if not (node.component and node.signature and node.signature.streams and IDS in node.outputs):
        return None
    signature = (checked.components[node.component].methods or {}).get(REPLAY)
    if signature is None:
        return None
    name = f"{node.name}_{STEPS}"
    return replace(
        node,
        name=name,
        run=f"{node.component}.{REPLAY}",
        method=REPLAY,
        signature=signature,
        wires={**node.wires, IDS: node.outputs[IDS]},
        options=_only(node.options, signature),
        outputs={OUT: name},
    )


def _only(options: Mapping[str, Any], signature: CallSignature) -> dict[str, Any]:
    """Return those of the options that a method has."""
    return {key: value for key, value in options.items() if key in signature.options}


def with_step_options(
    graph: Graph, options: Mapping[str, Mapping[str, Any]] | None
) -> dict[str, dict[str, Any]]:
    """Return options by node, with a decoder's options repeated for the replay of its steps."""
    found = {name: dict(given) for name, given in (options or {}).items()}
    for name, given in (options or {}).items():
        node = graph.nodes.get(f"{name}_{STEPS}")
        if node and node.signature and node.method == REPLAY:
            taken = _only(given, node.signature)
            if taken:
                found[node.name] = {**taken, **found.get(node.name, {})}
    return found
