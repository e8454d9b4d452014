"""What happens around every request: its ID, its key, its errors, and what is counted of it."""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
import uuid
from contextlib import suppress
from urllib.parse import urlsplit

from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.routing import Match, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from composer.core.errors import ComposerError
from composer.server.errors import ApiError, api_error_of, no_retry_error
from composer.server.events import ClientGone
from composer.server.pool import JobStopped
from composer.server.state import ServerState

PUBLIC = frozenset({"/", "/health", "/ready", "/metrics", "/version"})
LONGEST_ID = 128
LINGER, LINGER_PAUSE = 3.0, 1.5  # seconds that a refused client may still send, and pause
LINGER_BYTES = 64_000_000
LEFT = 499  # what logs call a client that left
UNKNOWN = "unknown"
LOG = logging.getLogger("composer.server")


class Guard:
    """Let the app answer every request; whatever it raises becomes an error of the API."""

    def __init__(self, app: ASGIApp, state: ServerState, router: Router) -> None:
        self._app = app
        self._state = state
        self._router = router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request, began = Request(scope), time.monotonic()
        identity = _request_id(request)
        status, has_whole_body = 0, False

        async def receive_body() -> Message:
            nonlocal has_whole_body
            message = await receive()
            has_whole_body |= not message.get("more_body", False)
            return message

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", ()), (b"x-request-id", identity.encode())]
                message = {**message, "headers": headers}
            await send(message)

        try:
            require_same_origin(request)
            require_key(request, self._state.settings.api_key)
            await self._app(scope, receive_body, answer)
        except (ClientGone, ClientDisconnect, JobStopped):
            status = status or LEFT
        except Exception as error:
            found = _refusal(error, identity)
            self._state.metrics.errors.labels(found.code or found.kind).inc()
            if not status:
                await _refuse(found, receive, answer, has_whole_body)
        finally:
            self._count(request, status or LEFT, time.monotonic() - began)

    def _count(self, request: Request, status: int, seconds: float) -> None:
        route = UNKNOWN
        for each in self._router.routes:
            if each.matches(request.scope)[0] == Match.FULL:
                route = getattr(each, "path", UNKNOWN)
        metrics = self._state.metrics
        metrics.requests.labels(route, str(status)).inc()
        metrics.seconds.labels(route).observe(seconds)
        if request.headers.get("x-stainless-retry-count", "0") != "0":
            metrics.retries.inc()


async def _refuse(error: ApiError, receive: Receive, answer: Send, has_whole_body: bool) -> None:
    """Answer at once, and read on for a while: a client that still sends must not be reset."""
    made = error.response()
    start = {"type": "http.response.start", "status": made.status_code}
    await answer({**start, "headers": made.raw_headers})
    await answer({"type": "http.response.body", "body": made.body, "more_body": True})
    size, until = 0, time.monotonic() + LINGER
    with suppress(TimeoutError):
        while not has_whole_body and size < LINGER_BYTES and time.monotonic() < until:
            async with asyncio.timeout(LINGER_PAUSE):
                message = await receive()
            size += len(message.get("body", b""))
            if not message.get("more_body"):
                break
    await answer({"type": "http.response.body", "body": b"", "more_body": False})


def _refusal(error: Exception, identity: str) -> ApiError:
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ComposerError):
        return api_error_of(error)
    LOG.error("request %s failed", identity, exc_info=error)
    return no_retry_error(500, f"the server failed at request {identity}", "internal_error")


def _request_id(request: Request) -> str:
    """Return the request's own ID where it is short and printable, else a new one."""
    given = request.headers.get("x-request-id", "")
    if 0 < len(given) <= LONGEST_ID and given.isascii() and given.isprintable():
        return given
    return f"req_{uuid.uuid4().hex}"


def require_same_origin(request: HTTPConnection) -> None:
    """Raise ApiError 403 for what a page of another site asks: a browser would send it."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        message = "pages of other sites may not use this server"
        raise ApiError(403, message, code="cross_origin")


def require_key(request: HTTPConnection, key: str | None, offered: str | None = None) -> None:
    """Raise ApiError 401 where a key is wanted and another one, or none, is given.

    `offered` is one that came in another way than by a header.
    """
    if key is None or request.url.path in PUBLIC:
        return
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        given = request.headers.get("x-api-key", offered or "")
    if not hmac.compare_digest(given.encode(), key.encode()):
        what = "wrong" if given else "missing: Authorization: Bearer KEY"
        raise ApiError(401, f"the API key is {what}", code="invalid_api_key")
