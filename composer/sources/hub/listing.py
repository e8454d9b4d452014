"""Ask which files a commit holds, and remember it: a commit never changes."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from composer.core.errors import ComposerError
from composer.core.own_files import write_note
from composer.formats.refusal import show
from composer.sources.hub import settings
from composer.sources.hub.client import get, join
from composer.sources.hub.ids import COMMIT
from composer.sources.hub.tree import GIT, SHA256, HubFile, check_names, name_fault, read_entries
from composer.sources.hub.trouble import ConnectionLost, broken, network, refused

PAGE = 16 << 20
HELD = 200_000  # lists and objects of a page
PAGES = 100
MOST = 20_000
TRIES = 3
SECONDS = 60.0
NEXT = re.compile(r'<([^<>]{1,2000})>\s*;\s*rel="?next"?')


def ask_commit(repo: str, revision: str) -> str:
    """Return the commit that a revision names now."""
    url = f"{settings.endpoint()}/api/models/{repo}/revision/{quote(revision, safe='')}"
    found, _ = read_json(url)
    commit = found.get("sha") if isinstance(found, dict) else None
    if not isinstance(commit, str):
        network("S497", f"{url} names no commit, so it is not the Hub's answer")
    if not COMMIT.fullmatch(commit) or not commit.strip("0"):
        refused("S419", f"{repo}: the Hub says {show(commit)}, which is no commit")
    return commit


def listing(repo: str, commit: str) -> dict[str, HubFile]:
    """Return the files of a commit, and remember them; of a page nothing but its files is kept."""
    url: str | None = (
        f"{settings.endpoint()}/api/models/{repo}/tree/{commit}?recursive=true&expand=false"
    )
    files: dict[str, HubFile] = {}
    for _ in range(PAGES):
        if url is None:
            break
        page, url = read_json(url)
        if not isinstance(page, list):
            network("S497", f"{repo}: the listing is no list, so it is not the Hub's answer")
        found = read_entries(repo, page)
        if twice := files.keys() & found.keys():
            refused("S415", f"{repo} lists {show(min(twice))} twice")
        files |= found
        if len(files) > MOST:
            refused("S416", f"{repo} lists more than {MOST} files")
    if url is not None:
        refused("S416", f"{repo}: its listing has more than {PAGES} pages")
    check_names(repo, files, ())
    _write(_place(repo, commit), files)
    return files


def cached_listing(repo: str, commit: str) -> dict[str, HubFile] | None:
    """Return what was listed before, or None."""
    try:
        entries = json.loads(_place(repo, commit).read_bytes())
        shaped = [
            {"path": path, "size": size, "oid": digest}
            if len(digest) == 40
            else {"path": path, "lfs": {"size": size, "oid": digest}}
            for path, size, digest in entries
        ]
        return read_entries(repo, shaped)
    except (OSError, ValueError, TypeError, ComposerError):
        return None


def partial_listing(repo: str, home: Path, commit: str) -> dict[str, HubFile]:
    """Return the files of a commit that another tool left in the cache, by their blobs' names."""
    root, blobs = home / "snapshots" / commit, (home / "blobs").resolve()
    files: dict[str, HubFile] = {}
    for path in sorted(filter(Path.is_symlink, root.rglob("*"))):
        # A blob may itself be a link, to one that repositories share, with another hash for a name.
        name, blob = path.relative_to(root).as_posix(), path.parent / os.readlink(path)
        sound = SHA256.fullmatch(blob.name) or GIT.fullmatch(blob.name)
        if sound and blob.parent.resolve() == blobs and blob.is_file() and not name_fault(name):
            files[name] = HubFile(name, blob.stat().st_size, blob.name)
    if not files:
        hint = "fetch it where there is a network: composer pull"
        network("S499", f"hf:{repo} at {commit[:7]} is not in the cache", hint=hint)
    return files


def _place(repo: str, commit: str) -> Path:
    return settings.notes() / settings.folder_name(repo) / "trees" / f"{commit}.json"


def _write(place: Path, files: dict[str, HubFile]) -> None:
    write_note(place, json.dumps([[file.path, file.size, file.digest] for file in files.values()]))


def read_json(url: str) -> tuple[Any, str | None]:
    """Return a page of the Hub's JSON and the address of the next."""
    for attempt in range(TRIES):
        try:
            with get(url) as answer:
                data = answer.body(PAGE, time.monotonic() + SECONDS)
                more = NEXT.search(answer.headers.get("link", ""))
            break
        except ConnectionLost as cut:
            if cut.timeout or attempt == TRIES - 1:
                broken(url, cut)
    try:
        if data.count(b"[") + data.count(b"{") > HELD:
            raise ValueError
        found = json.loads(data)
    except (ValueError, RecursionError):
        hint = "a login page or a proxy may stand between: open the address in a browser"
        network("S497", f"{url} answers with no JSON, so it is not the Hub's answer", hint=hint)
    following = join(url, more[1]) if more else None
    if following and not following.startswith(f"{settings.endpoint()}/"):
        refused("S436", f"{url}: its next page is elsewhere, {show(following)}")
    return found, following
