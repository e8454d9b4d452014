"""Compare what the Hub answers for a file with its listing and with what was asked for."""

from __future__ import annotations

import re

from composer.sources.hub.client import Answer
from composer.sources.hub.snapshots import Snapshot
from composer.sources.hub.tree import GIT, SHA256, HubFile
from composer.sources.hub.trouble import network, refused

SPAN = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})")


def check_answer(answer: Answer, snapshot: Snapshot, file: HubFile) -> None:
    """Hold the Hub's headers on a file against the listing, before its body is read."""
    where = f"{snapshot.repo}/{file.path}"
    commit, tag = answer.said("x-repo-commit"), answer.tag
    if commit is None or tag is None:
        missing = "X-Repo-Commit" if commit is None else "ETag"
        hint = "a login page or a proxy may stand between"
        network("S497", f"{where}: no {missing}, so it is not the Hub's answer", hint=hint)
    if commit != snapshot.commit:
        refused("S419", f"{where}: the answer is of the commit {commit[:60]!r}")
    digest = tag.removeprefix("W/").strip('"')
    if not (SHA256.fullmatch(digest) or GIT.fullmatch(digest)):
        refused("S419", f"{where}: its ETag {tag[:60]!r} is no digest")
    if digest != file.digest:
        refused("S419", f"{where}: its digest is {digest[:12]}, and the listing has "
                f"{file.digest[:12]}")  # fmt: skip
    size = answer.said("x-linked-size")
    if size is not None and size != str(file.size):
        refused("S419", f"{where}: it has {size[:20]} bytes, and the listing has {file.size}")


def check_span(answer: Answer, first: int, last: int, file: HubFile) -> None:
    """Refuse an answer that holds other bytes than were asked for."""
    if answer.status == 200 and first == 0 and last == file.size - 1:
        return
    if answer.status == 200:
        hint = "take another endpoint, or fetch the files yourself and name the folder by --source"
        message = f"{answer.place} ignores ranges, so that its header cannot be read alone"
        refused("S419", message, hint=hint)
    said = answer.headers.get("content-range", "")
    found = SPAN.fullmatch(said)
    if answer.status != 206 or not found or tuple(map(int, found.groups())) != (
        first, last, file.size
    ):  # fmt: skip
        refused("S419", f"{answer.place} sends other bytes than were asked for: {said[:60]!r}")
