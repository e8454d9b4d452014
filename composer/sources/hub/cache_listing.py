"""List the repositories in the cache, and remove them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from composer.core.errors import ComposerError, Problem
from composer.core.suggest import did_you_mean
from composer.sources.hub import settings
from composer.sources.hub.cache import is_untouched
from composer.sources.hub.ids import HubId

PREFIX = "models--"
PART = re.compile(r".*(?:\.composer-part|\.incomplete)")


@dataclass(frozen=True)
class CachedRepository:
    """A repository in the cache: `nbytes` on disk, of which `parts` are unfinished downloads."""

    repo: str
    commits: tuple[str, ...]
    nbytes: int
    parts: int
    verified: int

    @property
    def folders(self) -> tuple[Path, Path]:
        """Return the folders of the cache and of composer's own notes."""
        name = settings.folder_name(self.repo)
        return settings.cache_folder() / name, settings.notes_folder() / name


def cached_repositories() -> list[CachedRepository]:
    """Return the model repositories in the cache, whichever tool fetched them, largest first."""
    root = settings.cache_folder()
    names = [path.name for path in root.glob(f"{PREFIX}*--*") if path.is_dir()]
    return sorted(map(_describe, names), key=lambda each: (-each.nbytes, each.repo))


def remove_repository(id: HubId) -> CachedRepository:
    """Remove a repository with all its commits from the cache; raise S458 if it is not there."""
    repositories = cached_repositories()
    found = next((each for each in repositories if each.repo.lower() == id.repo.lower()), None)
    if found is None:
        suggestion = did_you_mean(id.repo, [each.repo for each in repositories])
        hint = suggestion or "composer cache lists what is there"
        raise ComposerError(Problem("S458", f"hf:{id.repo} is not in the cache", hint=hint))
    for folder in found.folders:
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            continue
        except OSError as error:
            why = error.strerror or str(error)
            message = f"{folder} cannot be removed: {why}"
            raise ComposerError(Problem("S439", message)) from None
    return found


def _describe(name: str) -> CachedRepository:
    home = settings.cache_folder() / name
    commits = tuple(sorted(path.name for path in home.glob("snapshots/*")))
    nbytes = parts = verified = 0
    for path in _files(home):
        size = _size(path)
        nbytes += size
        if PART.fullmatch(path.name):
            parts += size
    notes = settings.notes_folder() / name / "verified"
    for note in notes.glob("[0-9a-f]*"):
        blob = (home / "blobs" / note.name).resolve()
        if is_untouched(blob, note):
            verified += _size(blob)
    repo = name.removeprefix(PREFIX).replace("--", "/", 1)
    return CachedRepository(repo, commits, nbytes, parts, verified)


def _files(home: Path) -> Iterator[Path]:
    """Yield files, without links: a snapshot only points to its blobs."""
    for path in home.rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield path


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
