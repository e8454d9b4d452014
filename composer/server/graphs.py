"""`/graph`, which OpenAI's API does not have: what a model is made of, for the page at `/`."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from composer.core.errors import ComposerError
from composer.graph.graph import Graph, facts_of
from composer.graph_drawing.svg import svg
from composer.graph_drawing.text import weights_text
from composer.jobs.speech import speech_graph
from composer.server.errors import api_error_of, bad_request
from composer.server.served_models import ServedModel
from composer.server.state import state_of


async def graph(request: Request) -> Response:
    """Return a model's picture, and each node of its task that transcribes."""
    models = state_of(request).models
    name = request.query_params.get("model")
    if name is None:
        raise bad_request("'model' is missing: /graph?model=NAME", "model")
    model = models[name]
    try:
        task = speech_graph(model.bundle, None)
    except ComposerError as error:
        raise api_error_of(error, "model") from None
    return JSONResponse({"svg": svg(model.bundle.checked), "nodes": _nodes(model, task)})


def _nodes(model: ServedModel, task: Graph) -> list[dict[str, Any]]:
    """Return what each node runs, and the precision and the bytes of its weights."""
    components = model.bundle.checked.components
    found = []
    for node in task.nodes.values():
        found.append(
            {
                "name": node.name,
                "run": node.run,
                "kind": components[node.component].cls.name if node.component else node.run,
                "weights": weights_text(facts_of(components, node.component)),
            }
        )
    return found
