"""Measure how far a bundle's answers are from those of another edition of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from composer.comparison.decoder_steps import IDS, REPLAY, with_steps
from composer.core.call_signature import OUT
from composer.core.errors import ComposerError, Problem
from composer.graph.graph import Graph, Node
from composer.runtime.bundle import Bundle

Inputs = Mapping[str, Any]


@dataclass(frozen=True)
class AnswerLogits:
    """The ids of an answer [N], and the logits [N, V] before each of them."""

    ids: np.ndarray
    logits: np.ndarray


def answers(bundle: Bundle, task: str, runs: Sequence[Inputs]) -> list[AnswerLogits]:
    """Run a task on each of some inputs, and return what its decoder answers.

    Raise ComposerError R597 where no decoder of the task replays its steps.
    """
    node = decoder_node(bundle, task)
    found = []
    for inputs in runs:
        result = bundle.run(task=task, taps=[node.outputs[OUT], node.wires[IDS]], **inputs)
        ids, logits = result.taps[node.wires[IDS]], result.taps[node.outputs[OUT]]
        found.append(AnswerLogits(np.asarray(ids), np.asarray(logits)))
    return found


def divergence(
    bundle: Bundle, task: str, runs: Sequence[Inputs], reference: Sequence[AnswerLogits]
) -> float:
    """Return the mean over answers' tokens of KL(reference || bundle), in nats.

    The bundle's decoder is given the reference's ids, and the rows that the bundle itself makes of
    the inputs.
    """
    node = decoder_node(bundle, task)
    nodes = nodes_before(bundle.checked.graphs[task], [node])
    total, count = 0.0, 0
    for inputs, answer in zip(runs, reference, strict=True):
        feed = {node.wires[IDS]: answer.ids}
        result = bundle.run(task=task, only=nodes, feed=feed, taps=[node.outputs[OUT]], **inputs)
        logits = np.asarray(result.taps[node.outputs[OUT]])
        total += float(kl(answer.logits, logits).sum())
        count += len(answer.ids)
    return total / count if count else 0.0


def kl(reference: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return KL(reference || other) of each row of logits [N, V], in nats, in float64."""
    p, q = _log_softmax(reference), _log_softmax(other)
    found: np.ndarray = (np.exp(p) * (p - q)).sum(axis=-1)
    return found


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    rows = logits.astype(np.float64)
    rows -= rows.max(axis=-1, keepdims=True)
    found: np.ndarray = rows - np.log(np.exp(rows).sum(axis=-1, keepdims=True))
    return found


def decoder_node(bundle: Bundle, task: str) -> Node:
    """Let the decoders of a loaded bundle replay their steps, and return the last that does."""
    bundle.fetch(task)
    bundle.checked = with_steps(bundle.checked)
    nodes = [n for n in bundle.checked.graphs[task].nodes.values() if n.method == REPLAY]
    if not nodes:
        message = f"no decoder of the task '{task}' gives the logits of its answer"
        raise ComposerError(Problem("R597", message))
    return nodes[-1]


def nodes_before(graph: Graph, nodes: Sequence[Node]) -> list[str]:
    """Return the nodes that the inputs of some need, except for ids to replay, and themselves."""
    makers = {value: each for each in graph.nodes.values() for value in each.outputs.values()}
    found, pending = {node.name for node in nodes}, []
    for node in nodes:
        pending += [v for key, v in node.wires.items() if (node.method, key) != (REPLAY, IDS)]
    while pending:
        maker = makers.get(pending.pop())
        if maker and maker.name not in found:
            found.add(maker.name)
            pending += maker.wires.values()
    return [name for name in graph.nodes if name in found]
