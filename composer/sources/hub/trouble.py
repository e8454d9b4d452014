"""Tell trouble of the network from what is refused."""

from __future__ import annotations

from typing import NoReturn
from urllib.parse import urlsplit

from composer.core.errors import ComposerError, Problem


class ConnectionLost(Exception):
    """A connection that was not made, broke off, or took too long."""

    def __init__(self, why: str, timeout: bool = False) -> None:
        super().__init__(why)
        self.timeout = timeout


def network(code: str, message: str, *causes: str, hint: str | None = None) -> NoReturn:
    """Raise a problem of the network."""
    raise ComposerError(Problem(code, message, causes=causes, hint=hint))


def refused(code: str, message: str, *causes: str, hint: str | None = None) -> NoReturn:
    """Raise a refusal of what the Hub says or sends."""
    hint = hint or "the server is damaged or hostile: nothing of it is kept"
    raise ComposerError(Problem(code, message, causes=causes, hint=hint))


def unreachable(url: str, cut: ConnectionLost) -> NoReturn:
    """Raise what stands for a connection that was not made."""
    host = urlsplit(url).netloc
    if cut.timeout:
        hint = "try again; what is here already is kept"
        network("S494", f"{host} does not answer in time: {cut}", url, hint=hint)
    hint = "check the network; HF_HUB_OFFLINE=1 uses only what is here"
    network("S490", f"cannot reach {host}: {cut}", hint=hint)


def broken(url: str, cut: ConnectionLost, where: str = "") -> NoReturn:
    """Raise what stands for answers that break off, or that do not end."""
    if cut.timeout:
        unreachable(url, cut)
    hint = "run it again: what came is kept, and the download goes on from there"
    network("S498", f"{url} breaks off again and again{where}", str(cut), hint=hint)


def is_network(error: ComposerError) -> bool:
    """Tell whether nothing but the way to the Hub is at fault, and not what was asked for."""
    codes = {problem.code for problem in error.problems}
    return codes <= {"S490", "S494", "S495", "S496", "S497", "S498", "S499"}
