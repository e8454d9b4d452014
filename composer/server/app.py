"""The application: which route is answered where."""

from __future__ import annotations

from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute

from composer.core.suggest import did_you_mean
from composer.server import health
from composer.server.alignments import alignments
from composer.server.chat import chat_completions
from composer.server.errors import ApiError
from composer.server.graphs import graph
from composer.server.metrics import Metrics
from composer.server.middleware import Guard
from composer.server.page import page
from composer.server.pool import Pool
from composer.server.realtime import realtime
from composer.server.served_models import ServedModels
from composer.server.settings import ServerSettings
from composer.server.state import ServerState
from composer.server.transcriptions import transcriptions, translations

GET, POST = ["GET"], ["POST"]


def application(models: ServedModels, settings: ServerSettings) -> Starlette:
    """Return the application that serves models, whose tasks are loaded."""
    state = ServerState(models, settings, Pool(settings.runs, settings.queue), Metrics())
    state.metrics.add_gauge("composer_queue_depth", "Jobs that wait.", lambda: state.pool.waiting)
    state.metrics.add_gauge("composer_runs_in_flight", "Jobs that run.", lambda: state.pool.running)
    routes = [
        Route("/", page, methods=GET),
        Route("/graph", graph, methods=GET),
        Route("/health", health.health, methods=GET),
        Route("/ready", health.ready, methods=GET),
        Route("/metrics", health.metrics, methods=GET),
        Route("/version", health.versions, methods=GET),
        Route("/v1/models", health.models, methods=GET),
        Route("/v1/models/{name:path}", health.model, methods=GET),
        Route("/v1/audio/transcriptions", transcriptions, methods=POST),
        Route("/v1/audio/translations", translations, methods=POST),
        Route("/v1/audio/alignments", alignments, methods=POST),
        Route("/v1/chat/completions", chat_completions, methods=POST),
        WebSocketRoute("/v1/realtime", realtime),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _unknown})
    app.router.redirect_slashes = False
    app.user_middleware.append(Middleware(Guard, state, app.router))
    app.state.composer = state
    return app


def _unknown(request: Request, error: Any) -> Response:
    """Refuse a route or a method that there is not, as the API does."""
    path = request.url.path
    if error.status_code == 405:
        message = f"{request.method} {path} is not answered; {error.headers['Allow']} is"
        return ApiError(405, message, code="method_not_allowed").response()
    known = [route.path for route in request.app.routes]
    near = did_you_mean(path, known)
    hint = f"; {near}" if near else ""
    return ApiError(404, f"there is no {path}{hint}", code="unknown_url").response()
