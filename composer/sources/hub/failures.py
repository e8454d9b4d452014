"""Turn the Hub's error responses into problems."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol
from urllib.parse import urlsplit

from composer.core.errors import Problem
from composer.sources.hub import settings
from composer.sources.hub.addresses import origin
from composer.sources.hub.errors import raise_network_error

PATIENCE = 30.0  # seconds: the longest wait that a server may ask for


class ErrorResponse(Protocol):
    """The part of a response that states what failed."""

    url: str
    status: int
    headers: Mapping[str, str]

    def header(self, name: str) -> str | None: ...


def retryable_problem(answer: ErrorResponse, url: str) -> Problem | None:
    """Return the problem of a status that a retry may change, or None."""
    if answer.status == 429:
        hint = "wait, or log in: the Hub allows more requests when logged in"
        return Problem("S496", f"{url}: too many requests (status 429)", hint=hint)
    if answer.status >= 500 or answer.status == 408:
        hint = "try again later; downloaded data is kept"
        return Problem("S495", f"{url}: the server failed (status {answer.status})", hint=hint)
    return None


def problem_of(answer: ErrorResponse, url: str) -> Problem:
    """Return the problem of a status that a retry does not change."""
    from huggingface_hub import get_token

    if origin(urlsplit(answer.url)) != origin(urlsplit(settings.endpoint())):
        message = f"{urlsplit(answer.url).netloc} refuses {url} (status {answer.status})"
        return Problem("S495", message, hint="try again later; downloaded data is kept")
    code = (answer.header("x-error-code") or "").lower()
    known = get_token() is not None
    login = "log in by `hf auth login`, or set HF_TOKEN, where it is private"
    if code == "gatedrepo" or (answer.status == 403 and code != "reponotfound"):
        page = "/".join(url.split("/resolve/")[0].replace("/api/models/", "/").split("/")[:5])
        hint = f"accept its terms on {page}, then log in: `hf auth login`, or set HF_TOKEN"
        return Problem("S493", f"{url}: access is refused (status {answer.status})", hint=hint)
    if code == "revisionnotfound":
        return Problem("S492", f"{url}: the revision does not exist")
    if code == "entrynotfound":
        return Problem("S419", f"{url}: the file is listed but missing")
    if answer.status in (401, 404):
        hint = "check the name; your token may be expired, or have no access" if known else login
        return Problem("S491", f"{url}: the repository does not exist (status {answer.status})",
                       hint=hint)  # fmt: skip
    return Problem("S497", f"{url}: status {answer.status}, which is not expected of the Hub")


def retry_after(answer: ErrorResponse, url: str) -> float:
    """Return the server's Retry-After in seconds; refuse more than PATIENCE."""
    value = answer.headers.get("retry-after", "")
    seconds = int(value) if value.isascii() and value.isdigit() and len(value) < 12 else 0
    if seconds > PATIENCE:
        message = f"{url}: the server asks to wait {seconds} s (status {answer.status})"
        raise_network_error("S496", message, hint="try again then")
    return float(seconds)
