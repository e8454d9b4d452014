"""A repository: commits of files, the names that point to them, and who may read it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from mirror.file import File

Content = bytes | Path | File
COMMIT = re.compile(r"[0-9a-f]{40}")
SKIPPED = {".git", ".cache", ".DS_Store"}


class Repository:
    """What one owner/name holds; `forged` are rows that a hostile server adds to its listings."""

    def __init__(
        self,
        files: Mapping[str, Content] | None = None,
        *,
        commit: str | None = None,
        gated: Literal[False, "auto", "manual"] = False,
        private: bool = False,
    ) -> None:
        self.commits: dict[str, dict[str, File]] = {}
        self.refs: dict[str, str] = {}
        self.gated = gated
        self.private = private
        self.forged: list[dict[str, Any]] = []
        if files is not None:
            self.push(files, commit)

    def push(
        self, files: Mapping[str, Content], commit: str | None = None, ref: str = "main"
    ) -> str:
        """Make a commit of exactly these files, point a branch or tag to it, and return it.

        Without a `commit` its hash follows from the names and contents.
        """
        is_downloaded = {
            name: content if isinstance(content, File) else File.named(name, content)
            for name, content in files.items()
        }
        tree = "".join(f"{name}\0{file.oid}\n" for name, file in sorted(is_downloaded.items()))
        commit = commit or hashlib.sha1(tree.encode()).hexdigest()
        self.commits[commit] = is_downloaded
        self.refs[ref] = commit
        return commit

    def commit(self, revision: str = "main") -> str | None:
        """Return the commit that a revision names."""
        return revision if revision in self.commits else self.refs.get(revision)

    def files(self, revision: str = "main") -> dict[str, File]:
        """Return the files of a revision that exists."""
        commit = self.commit(revision)
        return self.commits[commit] if commit else {}


def repositories(folder: Path) -> dict[str, Repository]:
    """Find what a folder holds as owner/name/files, or as a Hugging Face cache."""
    found = {}
    for place in sorted(path for path in folder.iterdir() if path.is_dir()):
        if place.name.startswith("models--"):
            cached = _cached(place)
            if cached.commits:
                found[place.name.removeprefix("models--").replace("--", "/")] = cached
        elif not place.name.startswith(".") and "--" not in place.name:
            for inner in sorted(path for path in place.iterdir() if path.is_dir()):
                found[f"{place.name}/{inner.name}"] = Repository(dict(_walk(inner, inner)))
    return found


def _cached(place: Path) -> Repository:
    """Read the snapshots of a cache: a blob's name is its hash, so nothing is hashed again."""
    repository = Repository()
    for snapshot in sorted(place.glob("snapshots/*")):
        if COMMIT.fullmatch(snapshot.name):
            files = {}
            for name, path in _walk(snapshot, place):
                blob = path.resolve().name
                files[name] = File(path, lfs=len(blob) == 64, digest=blob)
            repository.push(files, snapshot.name, ref=snapshot.name)
    for ref in sorted(path for path in place.glob("refs/**/*") if path.is_file()):
        commit = ref.read_text().strip()
        if commit in repository.commits:
            repository.refs[ref.relative_to(place / "refs").as_posix()] = commit
    return repository


def _walk(folder: Path, home: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files below a folder by name, without links that lead out of `home`."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        within = path.resolve().is_relative_to(home.resolve())
        if path.is_file() and within and SKIPPED.isdisjoint(name.parts):
            yield name.as_posix(), path
