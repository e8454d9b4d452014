"""Load a graph and run it, as the child process of `isolated`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from composer.core.child_process import answer_questions

from .in_process import LocalGraph

FOREVER = 10.0**9  # the parent keeps the time
_loaded: list[LocalGraph] = []


def _answer(
    words: dict[str, Any], feeds: dict[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Load the graph first, and run it from then on."""
    try:
        if _loaded:
            return {}, _loaded[0].run(feeds, FOREVER)
        graph = LocalGraph(Path(words["path"]), words["threads"], words["providers"])
        _loaded.append(graph)
        forms = {"inputs": graph.inputs, "outputs": graph.outputs}
        return {**forms, "providers": graph.providers}, {}
    except Exception as error:
        return {"error": str(error) or type(error).__name__}, {}


if __name__ == "__main__":
    answer_questions(_answer)
