"""Check the Hub's response for a file against the listing and the request."""

from __future__ import annotations

import re

from composer.sources.hub.client import HubResponse
from composer.sources.hub.errors import raise_network_error, raise_refused
from composer.sources.hub.snapshots import Snapshot
from composer.sources.hub.tree import GIT, SHA256, HubFile

SPAN = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")


def check_response_headers(answer: HubResponse, snapshot: Snapshot, file: HubFile) -> None:
    """Check the response headers of a file against the listing, before its body is read."""
    where = f"{snapshot.repo}/{file.path}"
    commit, tag = answer.header("x-repo-commit"), answer.tag
    if commit is None or tag is None:
        missing = "X-Repo-Commit" if commit is None else "ETag"
        hint = "a login page or a proxy may be in between"
        raise_network_error(
            "S497", f"{where}: no {missing}, so it is not a response of the Hub", hint=hint
        )
    if commit != snapshot.commit:
        raise_refused("S419", f"{where}: the response is for the commit {commit[:60]!r}")
    digest = tag.removeprefix("W/").strip('"')
    if not (SHA256.fullmatch(digest) or GIT.fullmatch(digest)):
        raise_refused("S419", f"{where}: its ETag {tag[:60]!r} is not a digest")
    if digest != file.digest:
        raise_refused("S419", f"{where}: its digest is {digest[:12]}, but the listing has "
                f"{file.digest[:12]}")  # fmt: skip
    size = answer.header("x-linked-size")
    if size is not None and size != str(file.size):
        raise_refused("S419", f"{where}: it has {size[:20]} bytes, but the listing has {file.size}")


def check_range(answer: HubResponse, first: int, last: int, file: HubFile) -> None:
    """Refuse a response with other bytes than requested."""
    if answer.status == 200 and first == 0 and last == file.size - 1:
        return
    if answer.status == 200:
        hint = "take another endpoint, or fetch the files yourself and name the folder by --source"
        message = f"{answer.place} ignores ranges, so that its header cannot be read alone"
        raise_refused("S419", message, hint=hint)
    value = answer.headers.get("content-range", "")
    found = SPAN.fullmatch(value)
    if answer.status != 206 or not found or tuple(map(int, found.groups())) != (
        first, last, file.size
    ):  # fmt: skip
        raise_refused("S419", f"{answer.place} sent other bytes than requested: {value[:60]!r}")
