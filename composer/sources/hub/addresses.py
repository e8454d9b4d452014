"""Check the addresses that a server redirects to."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import SplitResult, urljoin, urlsplit

from composer.formats.file_problems import show
from composer.sources.hub.errors import raise_refused

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def check_address(parts: SplitResult, home: SplitResult, url: str) -> None:
    """Refuse an address that is not https, or that is inside a private network."""
    host = (parts.hostname or "").rstrip(".")
    local = home.hostname in LOOPBACK
    if parts.username is not None:
        raise_refused("S436", f"an address on {show(host)} contains a user name or a password")
    if parts.scheme != "https" and not (parts.scheme == "http" and local and host in LOOPBACK):
        hint = (
            "plain http is allowed on this machine alone, as by HF_ENDPOINT=http://127.0.0.1:PORT"
        )
        raise_refused("S436", f"{show(url)} is not https", hint=hint)
    if not host:
        raise_refused("S436", f"{show(url)} is not a server address")
    if _is_inside(host) and not local and host != home.hostname:
        raise_refused("S436", f"{show(url)} is an address of a private network")


def _is_inside(host: str) -> bool:
    """Return whether a host, in any notation, is in a private network."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        pass
    try:
        return not ipaddress.ip_address(socket.inet_aton(host)).is_global  # 127.1, 0x7f000001
    except OSError:
        return host == "localhost" or host.endswith(".localhost")


def resolve_redirect(base: str, place: str) -> str:
    """Resolve the address that a server redirects to."""
    try:
        return urljoin(base, place)
    except ValueError:
        raise_refused("S436", f"{show(place)} is not a server address")


def split_url(url: str) -> SplitResult:
    """Split an address; raise S436 if it is not one."""
    try:
        parts = urlsplit(url)
        origin(parts)
        (parts.hostname or "").encode("idna")
    except ValueError:
        raise_refused("S436", f"{show(url)} is not a server address")
    return parts


def origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    """Return scheme, host and port, by which two addresses are of the same server."""
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)
