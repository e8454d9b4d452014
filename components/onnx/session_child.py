"""Load a graph and run it, as the child process of `isolated`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from composer.core.child_process import answer_questions

from .in_process import LocalGraph
from .sequences import LocalSequences

FOREVER = 10.0**9  # the parent keeps the time
_loaded: list[LocalGraph] = []


def _answer(
    words: dict[str, Any], feeds: dict[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Load the graph first, and run it from then on; one with caches keeps its sequences."""
    try:
        if _loaded:
            graph = _loaded[0]
            if isinstance(graph, LocalSequences):
                for number in words["forget"]:
                    graph.forget(number)
                return {}, graph.advance(words, feeds, FOREVER)
            return {}, graph.run(feeds, FOREVER)
        where = Path(words["path"]), words["threads"], words["providers"]
        caches = words.get("caches")
        graph = LocalSequences(*where, caches) if caches else LocalGraph(*where)
        _loaded.append(graph)
        forms = {"inputs": graph.inputs, "outputs": graph.outputs}
        return {**forms, "providers": graph.providers}, {}
    except Exception as error:
        return {"error": str(error) or type(error).__name__}, {}


if __name__ == "__main__":
    answer_questions(_answer)
