"""Send requests to the Hub, with limits on bytes, time, redirects and retries."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from composer.core.errors import ComposerError
from composer.formats.file_problems import show_bare
from composer.sources.hub import settings
from composer.sources.hub.addresses import check_address, origin, resolve_redirect, split_url
from composer.sources.hub.errors import (
    ConnectionLost,
    raise_network_error,
    raise_refused,
    raise_unreachable,
)
from composer.sources.hub.failures import problem_of, retry_after, retryable_problem

REDIRECTS = 6
TRIES = 4
CONNECTS = 2  # without a network, fail soon
WAIT = 0.5  # seconds before the second try, twice as long before each next
PER_TRY = 30.0  # seconds until the headers arrive
READ = 20.0  # seconds without a byte
FLOOR, WINDOW = 16_384, 30.0  # bytes that have to come in so many seconds

_received = 0


def received_bytes() -> int:
    """Return the bytes of bodies received in this process."""
    return _received


@dataclass
class HubResponse:
    """A response whose body is not read yet; `hops` are the headers of the Hub's own responses."""

    url: str
    status: int
    headers: Mapping[str, str]
    hops: tuple[Mapping[str, str], ...]
    response: Any

    def header(self, name: str) -> str | None:
        """Return a header of the Hub itself, not of a server that it redirects to."""
        return next((hop[name] for hop in self.hops if name in hop), None)

    @property
    def place(self) -> str:
        """Return the address without its query, which may contain a signature."""
        return self.url.partition("?")[0]

    @property
    def tag(self) -> str | None:
        """Return the file's digest as stated by the Hub itself."""
        last = self.hops[-1].get("etag") if self.hops else None
        return self.header("x-linked-etag") or last

    def chunks(self, limit: int, deadline: float | None = None) -> Iterator[bytes]:
        """Yield the body; refuse more than `limit` bytes, raise ConnectionLost if interrupted.

        With `deadline`, in monotonic seconds, the body must be complete by then. Without, it must
        keep arriving: a server that is too slow is abandoned.
        """
        global _received
        total, since, arrived = 0, time.monotonic(), 0
        try:
            for chunk in self.response.iter_raw():
                total += len(chunk)
                arrived += len(chunk)
                _received += len(chunk)
                if total > limit:
                    raise_refused(
                        "S437", f"{self.place} sends more than the {limit} bytes it should have"
                    )
                now = time.monotonic()
                if deadline is not None and now > deadline:
                    raise ConnectionLost("it takes too long", timeout=True)
                if now - since > WINDOW:
                    if arrived < FLOOR:
                        raise ConnectionLost(
                            f"only {arrived} bytes came in {now - since:.0f} s", timeout=True
                        )
                    since, arrived = now, 0
                yield chunk
        except http_errors() as error:
            raise ConnectionLost(_why(error), timeout=_is_timeout(error)) from None

    def body(self, limit: int, deadline: float) -> bytes:
        """Return the complete body."""
        return b"".join(self.chunks(limit, deadline))


@contextmanager
def open_url(
    url: str, *, headers: Mapping[str, str] | None = None, offline: bool = False
) -> Iterator[HubResponse]:
    """Send a GET and follow its redirects; raise S49x for what is not 200, 206 or 416.

    PER_TRY limits the time until the last headers arrive. The token is sent only to the Hub.
    """
    if offline or settings.is_offline():
        raise_network_error("S499", f"HF_HUB_OFFLINE is set, and {url} is not in the cache")
    wait = WAIT
    for attempt in range(TRIES):
        last = attempt == TRIES - 1
        try:
            answer = _follow(url, dict(headers or {}), time.monotonic() + PER_TRY)
        except ConnectionLost as lost:
            if attempt >= CONNECTS - 1 or lost.timeout:
                raise_unreachable(url, lost)
            requested = 0.0
        else:
            try:
                if answer.status in (200, 206, 416):
                    yield answer
                    return
                problem = retryable_problem(answer, url)
                if problem is None or last:
                    raise ComposerError(problem or problem_of(answer, url))
                requested = retry_after(answer, url)
            finally:
                answer.response.close()
        time.sleep(max(wait, requested))
        wait *= 2


def _follow(url: str, headers: dict[str, str], deadline: float) -> HubResponse:
    home = split_url(settings.endpoint())
    hops: list[Mapping[str, str]] = []
    at = url
    for _ in range(REDIRECTS):
        parts = split_url(at)
        check_address(parts, home, at)
        to_hub = origin(parts) == origin(home)
        own = _token() if to_hub else {}
        response = _send(at, {**headers, **own}, deadline)
        if to_hub:
            hops.append({name.lower(): value for name, value in response.headers.items()})
        if response.status_code not in (301, 302, 303, 307, 308):
            return HubResponse(at, response.status_code, response.headers, tuple(hops), response)
        place = response.headers.get("location", "")
        response.close()
        if not place:
            raise_network_error("S497", f"{at.partition('?')[0]} redirects without an address")
        at = resolve_redirect(at, place)
    return raise_refused("S436", f"{url} redirects more than {REDIRECTS} times")


def _token() -> dict[str, str]:
    from huggingface_hub import get_token

    token = None if settings.forbids_token() else get_token()
    if not token:
        return {}
    if not (token.isascii() and token.isprintable()):
        hint = "log in again by `hf auth login`, or set HF_TOKEN"
        raise_network_error("S493", "your token has invalid characters", hint=hint)
    return {"Authorization": f"Bearer {token}"}


def _send(url: str, headers: dict[str, str], deadline: float) -> Any:
    """Return a response whose headers arrive before the deadline, or raise ConnectionLost.

    A socket's timeout only limits silence; a thread that can be abandoned limits the total.
    """
    from huggingface_hub import get_session

    session: Any = get_session()
    plain = {**headers, "Accept-Encoding": "identity"}
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    abandoned = threading.Event()

    def send() -> None:
        try:
            request = session.build_request("GET", url, headers=plain, timeout=READ)
            response = session.send(request, stream=True, follow_redirects=False)
        except Exception as error:  # whatever it is, the waiting thread raises it
            answers.put(error)
            return
        answers.put(response)
        if abandoned.is_set():
            response.close()

    threading.Thread(target=send, name="composer-hub", daemon=True).start()
    try:
        found = answers.get(timeout=max(0.0, deadline - time.monotonic()))
    except queue.Empty:
        abandoned.set()
        raise ConnectionLost("no response arrived in time", timeout=True) from None
    if not isinstance(found, Exception):
        return found
    if isinstance(found, http_errors()):
        raise ConnectionLost(_why(found), timeout=_is_timeout(found)) from None
    raise found


def http_errors() -> tuple[type[BaseException], ...]:
    """Return the exceptions of the HTTP library that the Hub's client uses."""
    found: list[type[BaseException]] = [OSError]
    for name in ("httpx", "httpx2"):
        library = sys.modules.get(name)
        if library:
            found += [library.HTTPError, library.StreamError, library.InvalidURL]
    return tuple(found)


def _is_timeout(error: BaseException) -> bool:
    return isinstance(error, TimeoutError) or "Timeout" in type(error).__name__


def _why(error: BaseException) -> str:
    return show_bare(error) if str(error) else type(error).__name__
