"""List the files of a commit, and store the list: a commit never changes."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from composer.core.errors import ComposerError
from composer.core.safe_write import write_cache_file
from composer.formats.file_problems import show
from composer.sources.hub import settings
from composer.sources.hub.addresses import resolve_redirect
from composer.sources.hub.client import open_url
from composer.sources.hub.errors import (
    ConnectionLost,
    raise_connection_lost,
    raise_network_error,
    raise_refused,
)
from composer.sources.hub.ids import COMMIT
from composer.sources.hub.tree import GIT, SHA256, HubFile, check_names, name_problem, parse_entries

PAGE = 16 << 20
MAX_CONTAINERS = 200_000  # lists and objects of a page
PAGES = 100
MOST = 20_000
TRIES = 3
SECONDS = 60.0
NEXT = re.compile(r'<([^<>]{1,2000})>\s*;\s*rel="?next"?')


def resolve_commit(repo: str, revision: str) -> str:
    """Return the current commit of a revision."""
    url = f"{settings.endpoint()}/api/models/{repo}/revision/{quote(revision, safe='')}"
    found, _ = fetch_json_page(url)
    commit = found.get("sha") if isinstance(found, dict) else None
    if not isinstance(commit, str):
        raise_network_error("S497", f"{url} has no commit, so it is not a response of the Hub")
    if not COMMIT.fullmatch(commit) or not commit.strip("0"):
        raise_refused("S419", f"{repo}: the Hub says {show(commit)}, which is not a commit")
    return commit


def commit_files(repo: str, commit: str) -> dict[str, HubFile]:
    """Return the files of a commit, and store the list; nothing else of a page is stored."""
    url: str | None = (
        f"{settings.endpoint()}/api/models/{repo}/tree/{commit}?recursive=true&expand=false"
    )
    files: dict[str, HubFile] = {}
    for _ in range(PAGES):
        if url is None:
            break
        page, url = fetch_json_page(url)
        if not isinstance(page, list):
            raise_network_error(
                "S497", f"{repo}: the listing is not a list, so it is not a response of the Hub"
            )
        found = parse_entries(repo, page)
        if twice := files.keys() & found.keys():
            raise_refused("S415", f"{repo} lists {show(min(twice))} twice")
        files |= found
        if len(files) > MOST:
            raise_refused("S416", f"{repo} lists more than {MOST} files")
    if url is not None:
        raise_refused("S416", f"{repo}: its listing has more than {PAGES} pages")
    check_names(repo, files, ())
    _write(_note(repo, commit), files)
    return files


def cached_listing(repo: str, commit: str) -> dict[str, HubFile] | None:
    """Return a stored listing, or None."""
    try:
        entries = json.loads(_note(repo, commit).read_bytes())
        shaped = []
        for path, size, digest in entries:
            if len(digest) == 40:
                shaped.append({"path": path, "size": size, "oid": digest})
            else:
                shaped.append({"path": path, "lfs": {"size": size, "oid": digest}})
        return parse_entries(repo, shaped)
    except (OSError, ValueError, TypeError, ComposerError):
        return None


def listing_from_snapshot(repo: str, home: Path, commit: str) -> dict[str, HubFile]:
    """Return the files of a commit that another tool cached, by their blobs' names."""
    root, blobs = home / "snapshots" / commit, (home / "blobs").resolve()
    files: dict[str, HubFile] = {}
    for path in sorted(filter(Path.is_symlink, root.rglob("*"))):
        # A blob may itself be a link, to one that repositories share, with another hash for a name.
        name, blob = path.relative_to(root).as_posix(), path.parent / os.readlink(path)
        is_digest = SHA256.fullmatch(blob.name) or GIT.fullmatch(blob.name)
        if (
            is_digest
            and blob.parent.resolve() == blobs
            and blob.is_file()
            and not name_problem(name)
        ):
            files[name] = HubFile(name, blob.stat().st_size, blob.name)
    if not files:
        hint = "fetch it while online: composer pull"
        raise_network_error("S499", f"hf:{repo} at {commit[:7]} is not in the cache", hint=hint)
    return files


def _note(repo: str, commit: str) -> Path:
    return settings.notes_folder() / settings.folder_name(repo) / "trees" / f"{commit}.json"


def _write(path: Path, files: dict[str, HubFile]) -> None:
    write_cache_file(
        path, json.dumps([[file.path, file.size, file.digest] for file in files.values()])
    )


def fetch_json_page(url: str) -> tuple[Any, str | None]:
    """Return a page of JSON and the address of the next."""
    for attempt in range(TRIES):
        try:
            with open_url(url) as answer:
                data = answer.body(PAGE, time.monotonic() + SECONDS)
                more = NEXT.search(answer.headers.get("link", ""))
            break
        except ConnectionLost as lost:
            if lost.timeout or attempt == TRIES - 1:
                raise_connection_lost(url, lost)
    try:
        if data.count(b"[") + data.count(b"{") > MAX_CONTAINERS:
            raise ValueError
        found = json.loads(data)
    except (ValueError, RecursionError):
        hint = "a login page or a proxy may be in between: open the address in a browser"
        raise_network_error(
            "S497", f"{url} does not return JSON, so it is not a response of the Hub", hint=hint
        )
    next_url = resolve_redirect(url, more[1]) if more else None
    if next_url and not next_url.startswith(f"{settings.endpoint()}/"):
        raise_refused("S436", f"{url}: its next page is elsewhere, {show(next_url)}")
    return found, next_url
