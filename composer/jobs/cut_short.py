"""Find out whether an answer ended at a limit."""

from __future__ import annotations

from dataclasses import dataclass

from composer.graph.graph import Graph
from composer.jobs.bundle import Options
from composer.runtime.result import Result

CUT, LIMIT = "length", "max_tokens"


@dataclass(frozen=True)
class CutShort:
    """An answer that the decoder did not end itself: it reached a limit after `tokens` tokens.

    `node` decoded it. `limit` is the node's max_tokens, None where it has none; where there are
    fewer tokens than that, the model has no positions for more.
    """

    node: str
    tokens: int
    limit: int | None


def cut_short(result: Result, graph: Graph, options: Options) -> CutShort | None:
    """Return where an answer was cut, if it was; `options` are those of the run, by node."""
    if result.finish_reason != CUT:
        return None
    found = None
    for name, node in graph.nodes.items():
        if name in result.timings and node.signature and node.signature.streams:
            given = {**node.signature.defaults, **node.options, **options.get(name, {})}
            limit = given.get(LIMIT)
            found = CutShort(name, result.tokens, limit if isinstance(limit, int) else None)
    return found
