"""Run the server on two origins, so that tests see a client cross between them."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from http.server import ThreadingHTTPServer

from mirror.handler import handler
from mirror.repository import Content, Repository
from mirror.state import State

HOST = "127.0.0.1"


class Mirror(State):
    """Serve repositories on loopback while the context is open.

    `tokens` are the valid bearer tokens, each with the repositories that it gives access to: gated
    and private ones, and any to write to. `separate_store` puts LFS files on an origin of their
    own, as the Hub does; otherwise they are at a second path of one origin. `faults` are by file
    name, or "/info" and "/tree" for the listings; the first one that is not used up applies.
    """

    def __init__(
        self,
        repositories: Mapping[str, Repository | Mapping[str, Content]],
        *,
        port: int = 0,
        page: int = 1000,
        tokens: Mapping[str, Collection[str]] | None = None,
        separate_store: bool = True,
    ) -> None:
        super().__init__(repositories, page, tokens)
        self._servers = [_Server((HOST, port), handler(self, "hub"))]
        if separate_store:
            self._servers.append(_Server((HOST, 0), handler(self, "store")))
        self.url, *others = (f"http://{HOST}:{server.server_port}" for server in self._servers)
        self.store = others[0] if others else ""

    def __enter__(self) -> Mirror:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """Ignore errors: many tests are about clients that disconnect."""
