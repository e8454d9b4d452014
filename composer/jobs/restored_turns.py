"""Continue a conversation from turns that were taken elsewhere; nothing is decoded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from composer.core.errors import ComposerError, Problem
from composer.graph.graph import Graph, Node
from composer.jobs.converse import Conversation

TEXT, IDS = "text", "ids"
IDS_OF_ANSWER = "answer_ids"  # a method of components that write conversations


def restore_turn(talk: Conversation, text: str, answer: str) -> None:
    """Let a conversation continue from what was asked and answered.

    Raise ComposerError R543 where the task carries on more than the texts of its turns.
    """
    graph = talk.turns.graph
    nodes, decoded = _nodes_behind(graph, [graph.outputs[name] for name in talk.turns.carried])
    fed: dict[str, Any] = {}
    for name, value in decoded:
        if name == TEXT:
            fed[value] = answer
        elif name == IDS:
            fed[value] = _ids_of(talk, nodes, answer)
        else:
            raise _unknown(graph)
    values = {**talk.inputs, **talk.carried, talk.turns.typed: text}
    names = [node.name for node in nodes]
    talk.carry(talk.bundle.run(task=graph.task, only=names, feed=fed, **values))


def _nodes_behind(graph: Graph, values: Iterable[str]) -> tuple[list[Node], list[tuple[str, str]]]:
    """Return the nodes that make values without a decoder, and what they read of a decoder."""
    wanted, nodes, decoded = set(values), [], []
    for node in [*graph.nodes.values()][::-1]:
        made = [(name, value) for name, value in node.outputs.items() if value in wanted]
        if made and node.signature and node.signature.streams:
            decoded += made
        elif made:
            nodes.append(node)
            wanted |= set(node.wires.values())
    return nodes, decoded


def _ids_of(talk: Conversation, nodes: Iterable[Node], answer: str) -> Any:
    """Return an answer's ids, by the component that writes the conversation."""
    for node in nodes:
        component = talk.bundle.component(node.component) if node.component else None
        if hasattr(component, IDS_OF_ANSWER):
            return getattr(component, IDS_OF_ANSWER)(answer)
    raise _unknown(talk.turns.graph)


def _unknown(graph: Graph) -> ComposerError:
    message = f"task '{graph.task}' cannot continue from turns that it did not take itself"
    return ComposerError(Problem("R543", message))
