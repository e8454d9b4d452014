"""Raise errors of the network, and refusals of content."""

from __future__ import annotations

from typing import NoReturn
from urllib.parse import urlsplit

from composer.core.errors import ComposerError, Problem


class ConnectionLost(Exception):
    """A connection that failed, was interrupted, or timed out."""

    def __init__(self, why: str, timeout: bool = False) -> None:
        super().__init__(why)
        self.timeout = timeout


def raise_network_error(code: str, message: str, *causes: str, hint: str | None = None) -> NoReturn:
    """Raise a network error."""
    raise ComposerError(Problem(code, message, causes=causes, hint=hint))


def raise_refused(code: str, message: str, *causes: str, hint: str | None = None) -> NoReturn:
    """Raise a refusal of content from the Hub."""
    hint = hint or "the server is damaged or hostile: nothing was stored"
    raise ComposerError(Problem(code, message, causes=causes, hint=hint))


def raise_unreachable(url: str, cut: ConnectionLost) -> NoReturn:
    """Raise the error for a failed connection."""
    host = urlsplit(url).netloc
    if cut.timeout:
        hint = "try again; downloaded data is kept"
        raise_network_error("S494", f"{host} does not answer in time: {cut}", url, hint=hint)
    hint = "check the network; HF_HUB_OFFLINE=1 uses only what is here"
    raise_network_error("S490", f"cannot reach {host}: {cut}", hint=hint)


def raise_connection_lost(url: str, cut: ConnectionLost, where: str = "") -> NoReturn:
    """Raise the error for interrupted or endless responses."""
    if cut.timeout:
        raise_unreachable(url, cut)
    hint = "run it again: the download resumes where it stopped"
    raise_network_error("S498", f"{url} was interrupted repeatedly{where}", str(cut), hint=hint)


def is_connection_failure(error: ComposerError) -> bool:
    """Return whether an error comes only from the network, not from the request."""
    codes = {problem.code for problem in error.problems}
    return codes <= {"S490", "S494", "S495", "S496", "S497", "S498", "S499"}
