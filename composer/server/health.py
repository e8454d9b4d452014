"""What a server says of itself: `/health`, `/ready`, `/metrics`, `/version`, `/v1/models`."""

from __future__ import annotations

from importlib.metadata import version

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from composer.server.metrics import CONTENT_TYPE
from composer.server.pool import QueueFull
from composer.server.state import state_of


async def health(request: Request) -> Response:
    """Answer as long as the process lives."""
    return JSONResponse({"status": "ok"})


async def ready(request: Request) -> Response:
    """Answer whether a request would be taken now."""
    state = state_of(request)
    if state.stopping:
        return JSONResponse({"status": "stopping"}, 503)
    try:
        state.pool.require_room()
    except QueueFull as full:
        return JSONResponse({"status": "busy"}, 503, headers={"retry-after": str(full.seconds)})
    return JSONResponse({"status": "ok"})


async def metrics(request: Request) -> Response:
    """Return the counters in Prometheus' text format."""
    return Response(state_of(request).metrics.render(), headers={"content-type": CONTENT_TYPE})


async def versions(request: Request) -> Response:
    """Return the version of the program."""
    return JSONResponse({"version": version("bundle-composer")})


async def models(request: Request) -> Response:
    """List the bundles that are served."""
    cards = [each.model_entry() for each in state_of(request).models]
    return JSONResponse({"object": "list", "data": cards})


async def model(request: Request) -> Response:
    """Return one of the bundles."""
    return JSONResponse(state_of(request).models[request.path_params["name"]].model_entry())
