"""Ask the Hub over HTTP, trusting no answer: bounded in bytes, time, redirects and patience."""

from __future__ import annotations

import ipaddress
import queue
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from composer.core.errors import ComposerError, Problem
from composer.formats.refusal import show
from composer.sources.hub import settings
from composer.sources.hub.trouble import ConnectionLost, network, refused, unreachable

REDIRECTS = 6
TRIES = 4
CONNECTS = 2  # who has no network should not wait for long
WAIT = 0.5  # seconds before the second try, twice as long before each next
PATIENCE = 30.0  # seconds: the longest wait that a server may ask for
PER_TRY = 30.0  # seconds until the headers are here
READ = 20.0  # seconds without a byte
FLOOR, WINDOW = 16_384, 30.0  # bytes that have to come in so many seconds
LOOPBACK = ("127.0.0.1", "::1", "localhost")

_received = 0


def received() -> int:
    """Return how many bytes of bodies came in this process."""
    return _received


@dataclass
class Answer:
    """A response whose body is not read yet; `hops` are the headers of the Hub's own answers."""

    url: str
    status: int
    headers: Mapping[str, str]
    hops: tuple[Mapping[str, str], ...]
    response: Any

    def said(self, name: str) -> str | None:
        """Return what the Hub itself, not a server it points to, says in a header."""
        return next((hop[name] for hop in self.hops if name in hop), None)

    @property
    def place(self) -> str:
        """Return the address without its query, which may hold a signature."""
        return self.url.partition("?")[0]

    @property
    def tag(self) -> str | None:
        """Return the digest that the Hub itself says the file has."""
        last = self.hops[-1].get("etag") if self.hops else None
        return self.said("x-linked-etag") or last

    def chunks(self, most: int, deadline: float | None = None) -> Iterator[bytes]:
        """Yield the body; refuse a byte beyond `most`, raise Cut where it breaks off.

        With `deadline`, in monotonic seconds, the body has to be complete by then. Without, it has
        to keep coming: a server that dribbles is left.
        """
        global _received
        total, since, came = 0, time.monotonic(), 0
        try:
            for chunk in self.response.iter_raw():
                total += len(chunk)
                came += len(chunk)
                _received += len(chunk)
                if total > most:
                    refused("S437", f"{self.place} sends more than the {most} bytes it should have")
                now = time.monotonic()
                if deadline is not None and now > deadline:
                    raise ConnectionLost("it takes too long", timeout=True)
                if now - since > WINDOW:
                    if came < FLOOR:
                        raise ConnectionLost(
                            f"only {came} bytes came in {now - since:.0f} s", timeout=True
                        )
                    since, came = now, 0
                yield chunk
        except http_errors() as error:
            raise ConnectionLost(_why(error), timeout=_is_timeout(error)) from None

    def body(self, most: int, deadline: float) -> bytes:
        """Return the whole body."""
        return b"".join(self.chunks(most, deadline))


@contextmanager
def get(url: str, *, headers: Mapping[str, str] | None = None) -> Iterator[Answer]:
    """Send a GET and follow its redirects; raise S49x for what is not 200, 206 or 416.

    PER_TRY bounds the time until the last headers are here. The token goes to the Hub alone.
    """
    if settings.offline():
        network("S499", f"HF_HUB_OFFLINE is set, and {url} is not in the cache")
    wait = WAIT
    for attempt in range(TRIES):
        last = attempt == TRIES - 1
        try:
            answer = _follow(url, dict(headers or {}), time.monotonic() + PER_TRY)
        except ConnectionLost as cut:
            if attempt >= CONNECTS - 1 or cut.timeout:
                unreachable(url, cut)
            asked = 0.0
        else:
            try:
                if answer.status in (200, 206, 416):
                    yield answer
                    return
                trouble = _trouble(answer, url)
                if trouble is None or last:
                    raise ComposerError(trouble or _failed(answer, url))
                asked = _asked_wait(answer, url)
            finally:
                answer.response.close()
        time.sleep(max(wait, asked))
        wait *= 2


def _follow(url: str, headers: dict[str, str], deadline: float) -> Answer:
    home = _split(settings.endpoint())
    hops: list[Mapping[str, str]] = []
    at = url
    for _ in range(REDIRECTS):
        parts = _split(at)
        check_address(parts, home, at)
        mine = _origin(parts) == _origin(home)
        response = _send(at, {**headers, **(_token() if mine else {})}, deadline)
        if mine:
            hops.append({name.lower(): value for name, value in response.headers.items()})
        if response.status_code not in (301, 302, 303, 307, 308):
            return Answer(at, response.status_code, response.headers, tuple(hops), response)
        place = response.headers.get("location", "")
        response.close()
        if not place:
            network("S497", f"{at.partition('?')[0]} redirects to nowhere")
        at = join(at, place)
    return refused("S436", f"{url} redirects more than {REDIRECTS} times")


def check_address(parts: SplitResult, home: SplitResult, url: str) -> None:
    """Refuse an address that is no https, or that is inside a network the Hub is not in."""
    host = (parts.hostname or "").rstrip(".")
    local = home.hostname in LOOPBACK
    if parts.username is not None:
        refused("S436", f"an address on {show(host)} holds a name or a password; expected none")
    if parts.scheme != "https" and not (parts.scheme == "http" and local and host in LOOPBACK):
        hint = (
            "plain http is allowed on this machine alone, as by HF_ENDPOINT=http://127.0.0.1:PORT"
        )
        refused("S436", f"{show(url)} is not https", hint=hint)
    if not host:
        refused("S436", f"{show(url)} is no address of a server")
    if _is_inside(host) and not local and host != home.hostname:
        refused("S436", f"{show(url)} is an address of an inner network")


def _is_inside(host: str) -> bool:
    """Tell whether a host, in any of the ways to write an address, is in an inner network."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        pass
    try:
        return not ipaddress.ip_address(socket.inet_aton(host)).is_global  # 127.1, 0x7f000001
    except OSError:
        return host == "localhost" or host.endswith(".localhost")


def join(base: str, place: str) -> str:
    """Return the address that a server points to."""
    try:
        return urljoin(base, place)
    except ValueError:
        refused("S436", f"{show(place)} is no address of a server")


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _origin(parts)
        (parts.hostname or "").encode("idna")
    except ValueError:
        refused("S436", f"{show(url)} is no address of a server")
    return parts


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def _token() -> dict[str, str]:
    from huggingface_hub import get_token

    token = None if settings.anonymous() else get_token()
    if token and not (token.isascii() and token.isprintable()):
        hint = "log in again by `hf auth login`, or set HF_TOKEN"
        network("S493", "your token holds characters that no token has", hint=hint)
    return {"Authorization": f"Bearer {token}"} if token else {}


def _send(url: str, headers: dict[str, str], deadline: float) -> Any:
    """Return a response whose headers are here before the deadline, or raise ConnectionLost.

    A timeout of a socket is one of silence: only a thread that can be left bounds the whole.
    """
    from huggingface_hub import get_session

    session: Any = get_session()
    plain = {**headers, "Accept-Encoding": "identity"}
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    left = threading.Event()

    def send() -> None:
        try:
            request = session.build_request("GET", url, headers=plain, timeout=READ)
            response = session.send(request, stream=True, follow_redirects=False)
        except Exception as error:  # whatever it is, the waiting thread raises it
            answers.put(error)
            return
        answers.put(response)
        if left.is_set():
            response.close()

    threading.Thread(target=send, name="composer-hub", daemon=True).start()
    try:
        found = answers.get(timeout=max(0.0, deadline - time.monotonic()))
    except queue.Empty:
        left.set()
        raise ConnectionLost("no answer came in time", timeout=True) from None
    if not isinstance(found, Exception):
        return found
    if isinstance(found, http_errors()):
        raise ConnectionLost(_why(found), timeout=_is_timeout(found)) from None
    raise found


def _trouble(answer: Answer, url: str) -> Problem | None:
    """Return what a status means, or None where trying again is of no use (see _failed)."""
    if answer.status == 429:
        hint = "wait, or log in: the Hub allows more to those it knows"
        return Problem("S496", f"{url}: too many requests (status 429)", hint=hint)
    if answer.status >= 500 or answer.status == 408:
        hint = "try again later; what is here already is kept"
        return Problem("S495", f"{url}: the server failed (status {answer.status})", hint=hint)
    return None


def _failed(answer: Answer, url: str) -> Problem:
    from huggingface_hub import get_token

    if _origin(urlsplit(answer.url)) != _origin(urlsplit(settings.endpoint())):
        message = f"{urlsplit(answer.url).netloc} refuses {url} (status {answer.status})"
        return Problem("S495", message, hint="try again later; what is here already is kept")
    code = (answer.said("x-error-code") or "").lower()
    known = get_token() is not None
    login = "log in by `hf auth login`, or set HF_TOKEN, where it is private"
    if code == "gatedrepo" or (answer.status == 403 and code != "reponotfound"):
        page = "/".join(url.split("/resolve/")[0].replace("/api/models/", "/").split("/")[:5])
        hint = f"accept its terms on {page}, then log in: `hf auth login`, or set HF_TOKEN"
        return Problem("S493", f"{url}: access is refused (status {answer.status})", hint=hint)
    if code == "revisionnotfound":
        return Problem("S492", f"{url}: there is no such revision")
    if code == "entrynotfound":
        return Problem("S419", f"{url}: the file is listed, and is not there")
    if answer.status in (401, 404):
        hint = "check the name; your token may be too old, or not open it" if known else login
        return Problem("S491", f"{url}: there is no such repository (status {answer.status})",
                       hint=hint)  # fmt: skip
    return Problem("S497", f"{url}: status {answer.status}, which the Hub does not give")


def _asked_wait(answer: Answer, url: str) -> float:
    """Return how many seconds the server asks to wait; refuse more than is bearable."""
    said = answer.headers.get("retry-after", "")
    seconds = int(said) if said.isascii() and said.isdigit() and len(said) < 12 else 0
    if seconds > PATIENCE:
        message = f"{url}: the server asks to wait {seconds} s (status {answer.status})"
        network("S496", message, hint="try again then")
    return float(seconds)


def http_errors() -> tuple[type[BaseException], ...]:
    """Return what the HTTP library raises: httpx or its successor, as the Hub's client has it."""
    found: list[type[BaseException]] = [OSError]
    for name in ("httpx", "httpx2"):
        library = sys.modules.get(name)
        if library:
            found += [library.HTTPError, library.StreamError, library.InvalidURL]
    return tuple(found)


def _is_timeout(error: BaseException) -> bool:
    return isinstance(error, TimeoutError) or "Timeout" in type(error).__name__


def _why(error: BaseException) -> str:
    return show(str(error))[1:-1] if str(error) else type(error).__name__
