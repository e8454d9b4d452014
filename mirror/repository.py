"""A repository: commits of files, refs, and access rights."""

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
    """The contents of owner/name; `forged` are rows that a hostile server adds to its listings."""

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
        """Commit exactly these files, point a branch or tag to the commit, and return it.

        Without a `commit` its hash is computed from the names and contents.
        """
        by_name = {
            name: content if isinstance(content, File) else File.named(name, content)
            for name, content in files.items()
        }
        tree = "".join(f"{name}\0{file.oid}\n" for name, file in sorted(by_name.items()))
        commit = commit or hashlib.sha1(tree.encode()).hexdigest()
        self.commits[commit] = by_name
        self.refs[ref] = commit
        return commit

    def commit(self, revision: str = "main") -> str | None:
        """Return the commit of a revision."""
        return revision if revision in self.commits else self.refs.get(revision)

    def files(self, revision: str = "main") -> dict[str, File]:
        """Return the files of a revision that exists."""
        commit = self.commit(revision)
        return self.commits[commit] if commit else {}


def repositories(folder: Path) -> dict[str, Repository]:
    """Find a folder's repositories, as owner/name/files or as a Hugging Face cache."""
    found = {}
    for repo_folder in sorted(path for path in folder.iterdir() if path.is_dir()):
        if repo_folder.name.startswith("models--"):
            cached = _cached(repo_folder)
            if cached.commits:
                found[repo_folder.name.removeprefix("models--").replace("--", "/")] = cached
        elif not repo_folder.name.startswith(".") and "--" not in repo_folder.name:
            for inner in sorted(path for path in repo_folder.iterdir() if path.is_dir()):
                found[f"{repo_folder.name}/{inner.name}"] = Repository(dict(_walk(inner, inner)))
    return found


def _cached(repo_folder: Path) -> Repository:
    """Read the snapshots of a cache: a blob's name is its hash, so nothing is hashed again."""
    repository = Repository()
    for snapshot in sorted(repo_folder.glob("snapshots/*")):
        if COMMIT.fullmatch(snapshot.name):
            files = {}
            for name, path in _walk(snapshot, repo_folder):
                blob = path.resolve().name
                files[name] = File(path, lfs=len(blob) == 64, digest=blob)
            repository.push(files, snapshot.name, ref=snapshot.name)
    for ref in sorted(path for path in repo_folder.glob("refs/**/*") if path.is_file()):
        commit = ref.read_text().strip()
        if commit in repository.commits:
            repository.refs[ref.relative_to(repo_folder / "refs").as_posix()] = commit
    return repository


def _walk(folder: Path, root: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files below a folder by name, without links that lead out of `home`."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        is_inside = path.resolve().is_relative_to(root.resolve())
        if path.is_file() and is_inside and SKIPPED.isdisjoint(name.parts):
            yield name.as_posix(), path
