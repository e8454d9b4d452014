"""Run the server: two origins, so that a client is seen to cross from one to the other."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from http.server import ThreadingHTTPServer

from mirror.fault import Fault, Origin
from mirror.repository import Content, Repository

HOST = "127.0.0.1"


@dataclass
class Request:
    """One request that was answered: `sent` counts the bytes of its body."""

    method: str
    path: str
    range: str | None
    authorized: bool
    origin: Origin
    status: int
    sent: int = 0


class Mirror:
    """Serve repositories on loopback while the context is open.

    `tokens` are the bearer tokens that are valid, each with the repositories that it opens: gated
    and private ones, and any to write to. `apart` puts LFS files on an origin of their own, as the
    Hub does; without it they are at a second path of the one origin. `faults` are by file name, or
    "/info" and "/tree" for the listings; the first one that is not used up acts.
    """

    def __init__(
        self,
        repositories: Mapping[str, Repository | Mapping[str, Content]],
        *,
        port: int = 0,
        page: int = 1000,
        tokens: Mapping[str, Collection[str]] | None = None,
        apart: bool = True,
    ) -> None:
        from mirror.handler import handler

        self.repositories = {
            name: held if isinstance(held, Repository) else Repository(held)
            for name, held in repositories.items()
        }
        self.page = page
        self.tokens = dict(tokens or {})
        self.faults: dict[str, Fault | list[Fault]] = {}
        self.requests: list[Request] = []
        self.uploads: dict[str, bytes] = {}
        self.secret = secrets.token_hex(8)
        self._used: dict[int, int] = {}
        self._lock = threading.Lock()
        self._servers = [_Server((HOST, port), handler(self, "hub"))]
        if apart:
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

    def fault(self, key: str, method: str, origin: Origin) -> Fault:
        """Use one fault of a file or a listing, once more."""
        with self._lock:
            for fault in _listed(self.faults.get(key, ())):
                used = self._used.get(id(fault), 0)
                acts = method in fault.methods and origin in fault.origins
                if acts and (fault.times is None or used < fault.times):
                    self._used[id(fault)] = used + 1
                    return fault
        return Fault()

    def note(self, request: Request) -> None:
        """Keep a request that was answered."""
        with self._lock:
            self.requests.append(request)

    def asked(self, part: str = "", method: str = "GET") -> list[Request]:
        """Return the requests so far whose path holds `part`."""
        return [one for one in self.requests if one.method == method and part in one.path]

    @property
    def sent(self) -> int:
        """Count the bytes of all bodies so far."""
        return sum(request.sent for request in self.requests)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_: object) -> None:
        """Say nothing: a client that goes away is what many tests are about."""


def _listed(faults: Fault | Iterable[Fault]) -> Iterable[Fault]:
    return (faults,) if isinstance(faults, Fault) else faults
