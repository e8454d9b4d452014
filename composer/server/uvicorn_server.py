"""Run the server until it is asked to stop."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from composer.core.errors import ComposerError, Problem
from composer.server.state import ServerState

SIGNALS = (signal.SIGINT, signal.SIGTERM)
BACKLOG = 256
KEEP_ALIVE = 60  # seconds of a connection without a request
CANCELLED = 2.0  # seconds for runs that were given up to end at their next token


@contextmanager
def interrupt_on_sigterm() -> Iterator[None]:
    """Let SIGTERM be an interrupt, also for the first process of a container, which ignores it."""
    is_handled = callable(signal.getsignal(signal.SIGTERM))  # as the command line has it
    if is_handled or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def bind_socket(host: str, port: int) -> socket.socket:
    """Return a socket at an address, which does not listen yet; raise R599 where that fails."""
    with ExitStack() as stack:
        try:
            family, _, _, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            found = stack.enter_context(socket.socket(family))
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(address)
        except (OSError, OverflowError) as error:
            raise _not_bound(host, port, error) from None
        stack.pop_all()
    return found


def _not_bound(host: str, port: int, error: Exception) -> ComposerError:
    reason = getattr(error, "strerror", None) or error
    message = f"cannot listen on {host}, port {port}: {reason}"
    hint = "another program may have it: choose another --port, or 0 for any"
    return ComposerError(Problem("R599", message, hint=hint))


def address_of(listening: socket.socket) -> str:
    """Return the URL of a socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """A server that stops at the first signal gracefully, at the second at once, and exits 0."""

    def __init__(
        self, config: uvicorn.Config, state: ServerState, started: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._state = state
        self._started = started

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {each: signal.signal(each, self._on_signal) for each in SIGNALS}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._state.stopping = True
        self.handle_exit(number, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        self._state.pool.close()
        await self._state.pool.drain(CANCELLED)


def make_server(app: Starlette, started: Callable[[], None]) -> uvicorn.Server:
    """Return the server of an application, which `serve` runs and `should_exit` stops."""
    state: ServerState = app.state.composer
    config = uvicorn.Config(
        app,
        http="h11",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="off",
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE,
        ws_max_size=state.settings.max_frame,
        timeout_graceful_shutdown=round(state.settings.stop_seconds),
    )
    return _Server(config, state, started)


def serve(app: Starlette, listening: socket.socket, started: Callable[[], None]) -> None:
    """Serve on a socket until SIGTERM or SIGINT; call `started` once it answers.

    Requests that run then have the time that the settings give them; a second signal ends them.
    """
    asyncio.run(make_server(app, started).serve([listening]))
