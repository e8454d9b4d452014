"""A repository at one commit: its files, and their paths in the cache."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from composer.core.errors import ComposerError, Problem
from composer.core.location import Location
from composer.core.safe_write import write_cache_file
from composer.formats.file_problems import show
from composer.sources.hub import settings
from composer.sources.hub.errors import is_connection_failure, raise_network_error
from composer.sources.hub.ids import COMMIT, HubId
from composer.sources.hub.listing import (
    cached_listing,
    commit_files,
    listing_from_snapshot,
    resolve_commit,
)
from composer.sources.hub.tree import HubFile

MAIN = "main"
RETRY_AFTER = 10.0  # seconds in which a Hub that failed is not asked the same again


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The files of a repository at a commit; `root` is their folder in the cache.

    `partial` means that the listing was made from the cache and may be incomplete, `offline`
    that nothing more is requested; `notes` are warnings about how the commit was found.
    """

    repo: str
    commit: str
    home: Path
    files: Mapping[str, HubFile]
    partial: bool = False
    offline: bool = False
    notes: tuple[Problem, ...] = field(default=(), repr=False)

    @property
    def root(self) -> Path:
        """Return the folder of the files in the cache."""
        return self.home / "snapshots" / self.commit

    def location(self, source: str, inside: str = "") -> Location:
        """Return a place in it, for a source that a manifest names."""
        return Location(source, inside, self.root, self)

    def url(self, path: str) -> str:
        """Return the address of a file."""
        from urllib.parse import quote

        return f"{settings.endpoint()}/{self.repo}/resolve/{self.commit}/{quote(path)}"

    def blob(self, file: HubFile) -> Path:
        """Return the path of a file's blob in the cache."""
        return self.home / "blobs" / file.digest

    @cached_property
    def folders(self) -> Mapping[str, tuple[str, ...]]:
        """Return the sorted names in each folder; the root is ''."""
        found: dict[str, set[str]] = {"": set()}
        for path in self.files:
            inner = ""
            for part in path.split("/"):
                found.setdefault(inner, set()).add(part)
                inner = f"{inner}/{part}" if inner else part
        return {folder: tuple(sorted(names)) for folder, names in found.items()}

    def __str__(self) -> str:
        return f"hf:{self.repo}@{self.commit[:7]}"


class Hub:
    """The Hub as one job sees it: each repository at one commit, which is requested once.

    With `offline` nothing is requested; nor if HF_HUB_OFFLINE is set.
    """

    def __init__(self, offline: bool = False) -> None:
        self._offline = offline
        self._by_id: dict[HubId, Snapshot] = {}
        self._failed: dict[HubId, tuple[float, ComposerError]] = {}
        self._lock = threading.RLock()

    @property
    def offline(self) -> bool:
        """Return whether nothing is requested."""
        return self._offline or settings.is_offline()

    def snapshot(self, id: HubId) -> Snapshot:
        """Return a repository at the current commit of its revision.

        If the Hub cannot be reached, or is offline, the last known commit is used.
        """
        with self._lock:
            if id not in self._by_id:
                when, error = self._failed.get(id, (0.0, None))
                if error and time.monotonic() - when < RETRY_AFTER and not self.offline:
                    raise error
                try:
                    self._by_id[id] = _resolve(id, self.offline)
                except ComposerError as failure:
                    self._failed[id] = (time.monotonic(), failure)
                    raise
            return self._by_id[id]

    def pin_commit(self, id: HubId, commit: str) -> None:
        """Fix a revision's commit."""
        with self._lock:
            self._by_id[id] = _resolve(HubId(id.repo, commit), self.offline)


def snapshot_of(location: Location) -> tuple[Snapshot, str] | None:
    """Return the snapshot of a location and its path there, or None."""
    found = location.repository
    if location.root is None or not isinstance(found, Snapshot):
        return None
    inner = location.root.relative_to(found.root).as_posix().removeprefix(".")
    return found, "/".join(filter(None, (inner, location.inside)))


def _resolve(id: HubId, offline: bool) -> Snapshot:
    home = settings.cache_folder() / settings.folder_name(id.repo)
    revision = id.revision or MAIN
    notes: tuple[Problem, ...] = ()
    if COMMIT.fullmatch(revision):
        commit = revision
    elif offline:
        commit = _cached_commit(home, id, revision)
    else:
        try:
            commit = resolve_commit(id.repo, revision)
        except ComposerError as error:
            ref = home / "refs" / revision
            if not (is_connection_failure(error) and ref.is_file()):
                raise
            commit = _cached_commit(home, id, revision)
            message = (
                f"{id.repo} is read from the cache, at {commit[:7]}: the Hub cannot be reached"
            )
            causes = tuple(problem.message for problem in error.problems)
            notes = (Problem("S459", message, causes=causes, severity="warning"),)
        else:
            _write_ref(home, revision, commit)
    files = cached_listing(id.repo, commit)
    partial = files is None and (offline or bool(notes))
    if partial:
        files = listing_from_snapshot(id.repo, home, commit)
    files = files or commit_files(id.repo, commit)
    return Snapshot(id.repo, commit, home, files, partial, offline, notes)


def _cached_commit(home: Path, id: HubId, revision: str) -> str:
    try:
        commit = (home / "refs" / revision).read_text().strip()
    except (OSError, UnicodeDecodeError):
        hint = "fetch it while online: composer pull"
        why = "and HF_HUB_OFFLINE is set"
        raise_network_error("S499", f"{id} is not in the cache, {why}", hint=hint)
    if not COMMIT.fullmatch(commit):
        raise_network_error("S499", f"the cache has no commit of {id}, but {show(commit)}")
    return commit


def _write_ref(home: Path, revision: str, commit: str) -> None:
    """Write a revision's commit where the Hub's own tools read it."""
    ref = home / "refs" / revision
    try:
        if ref.is_file() and ref.read_text().strip() == commit:
            return
    except OSError:
        return  # a cache that cannot be written is still read
    write_cache_file(ref, commit)
