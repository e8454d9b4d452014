"""The state of a mirror, shared by its origins' handlers."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from mirror.fault import Fault, Origin
from mirror.repository import Content, Repository


@dataclass
class Request:
    """One answered request: `sent` counts the bytes of the response's body."""

    method: str
    path: str
    range: str | None
    authorized: bool
    origin: Origin
    status: int
    sent: int = 0


class State:
    """Repositories, tokens and faults of a mirror, and its answered requests."""

    url: str
    store: str

    def __init__(
        self,
        repositories: Mapping[str, Repository | Mapping[str, Content]],
        page: int,
        tokens: Mapping[str, Collection[str]] | None,
    ) -> None:
        self.repositories = {
            name: files if isinstance(files, Repository) else Repository(files)
            for name, files in repositories.items()
        }
        self.page = page
        self.tokens = dict(tokens or {})
        self.faults: dict[str, Fault | list[Fault]] = {}
        self.requests: list[Request] = []
        self.uploads: dict[str, bytes] = {}
        self.writing = threading.Lock()
        self.secret = secrets.token_hex(8)
        self._used: dict[int, int] = {}
        self._lock = threading.Lock()

    def fault(self, key: str, method: str, origin: Origin) -> Fault:
        """Return the next fault of a file or a listing, and count its use."""
        with self._lock:
            for fault in _listed(self.faults.get(key, ())):
                used = self._used.get(id(fault), 0)
                acts = method in fault.methods and origin in fault.origins
                if acts and (fault.times is None or used < fault.times):
                    self._used[id(fault)] = used + 1
                    return fault
        return Fault()

    def note(self, request: Request) -> None:
        """Record an answered request."""
        with self._lock:
            self.requests.append(request)

    def requests_of(self, part: str = "", method: str = "GET") -> list[Request]:
        """Return the requests so far whose path contains `part`."""
        return [one for one in self.requests if one.method == method and part in one.path]

    @property
    def sent(self) -> int:
        """Count the bytes of all bodies so far."""
        return sum(request.sent for request in self.requests)


def _listed(faults: Fault | Iterable[Fault]) -> Iterable[Fault]:
    return (faults,) if isinstance(faults, Fault) else faults
