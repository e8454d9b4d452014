"""Compare the adapters that nodes switch on with their components', and with one another."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from composer.core.call_signature import ADAPTERS, WHEN
from composer.core.ports import is_float
from composer.core.suggest import listed, with_nearest
from composer.graph.graph import Graph, Node

EMBEDDINGS_HINT = "say the same on both nodes: adapters: [...], and when: where one has it"
Options = Mapping[str, Mapping[str, Any]]


def unknown_adapters(
    components: Mapping[str, Any], component: str | None, names: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Yield a message and a hint for each name that is no adapter of a component."""
    checked = components.get(component or "")
    if checked is None:
        return
    has = checked.spec.adapters
    for name in names:
        if name not in has:
            message = with_nearest(f"{component} has no adapter '{name}'", name, has)
            yield message, f"it has: {listed(has)}"


def check_adapters(
    graph: Graph, components: Mapping[str, Any], report: Callable[..., None]
) -> None:
    """Report switches of no adapters, and embeddings of others than what continues them has."""
    for name, node in graph.nodes.items():
        checked = components.get(node.component or "")
        known = checked is not None and checked.facts is not None
        if known and WHEN in node.wires and not node.options.get(ADAPTERS):
            message = f"{node.run} has '{WHEN}' and no adapters that it would switch on"
            hint = "name them beside it: adapters: [...]"
            report("W298", message, "graph", name, "with", WHEN, key=True, hint=hint)
    for name, message in differing_embeddings(graph, components):
        report("W295", message, "graph", name, key=True, hint=EMBEDDINGS_HINT)


def differing_embeddings(
    graph: Graph, components: Mapping[str, Any], overrides: Options | None = None
) -> Iterator[tuple[str, str]]:
    """Yield each node whose rows another node continues with other adapters on the table.

    An adapter that adapts the table of embeddings changes what ids are looked up as. `overrides`
    are options that a run gives by node.
    """
    for node in graph.nodes.values():
        wanted = _table_adapters(node, components, overrides or {})
        for before in _embedded(graph, node):
            has = _table_adapters(before, components, overrides or {})
            if has != wanted:
                message = f"the adapters of these embeddings are {listed(sorted(has))}, and those "
                message += f"of ${node.name}, which continues them, {listed(sorted(wanted))}"
                yield before.name, message


def _table_adapters(
    node: Node, components: Mapping[str, Any], overrides: Options
) -> frozenset[str]:
    """Return the adapters of a node that adapt the table, and what switches them on."""
    checked = components.get(node.component or "")
    if checked is None or checked.facts is None:
        return frozenset()
    given = overrides.get(node.name, {}).get(ADAPTERS, node.options.get(ADAPTERS, ()))
    found: frozenset[str] = checked.facts.embedding_adapters.intersection(given)
    if WHEN not in node.wires:
        return found
    return frozenset(f"{name} when ${node.wires[WHEN]}" for name in found)


def _embedded(graph: Graph, node: Node) -> Iterator[Node]:
    """Yield the nodes of the same component whose rows reach a node, by way of any others."""
    if not _takes_adapters(node):
        return
    producers = graph.producers
    ahead, seen = list(node.wires.values()), set[str]()
    while ahead:
        value = ahead.pop()
        producer, known = producers.get(value), graph.values.get(value)
        if value in seen or producer is None or known is None or known.port is None:
            continue
        seen.add(value)
        if known.port.kind != "tensor" or not is_float(known.port.dtype):
            continue
        if producer.component == node.component and _takes_adapters(producer):
            yield producer
        ahead += producer.wires.values()


def _takes_adapters(node: Node) -> bool:
    return node.signature is not None and ADAPTERS in node.signature.options
