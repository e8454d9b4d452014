"""Read the listing of a repository: each file's size and digest; refuse unsafe names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from composer.core.errors import ComposerError, Problem
from composer.formats.file_problems import show

GIT, SHA256 = re.compile(r"[0-9a-f]{40}"), re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[^\x00-\x1f\x7f\\:*?\"<>|/]{1,200}")
RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?", re.I)
MAX_SIZE = 2**50


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository; `digest` is the sha256 of an LFS file, else git's blob hash."""

    path: str
    size: int
    digest: str

    @property
    def algorithm(self) -> str:
        """Return sha256, or git for the hash of a blob."""
        return "sha256" if len(self.digest) == 64 else "git"


def parse_entries(repo: str, entries: Iterable[Any]) -> dict[str, HubFile]:
    """Return the files of a listing by path; refuse malformed, S438, or unsafe, S415, entries."""
    files: dict[str, HubFile] = {}
    folders: set[str] = set()
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
            _refuse("S438", f"the listing of {repo} has {show(str(entry))}, which is not a file")
        path = entry["path"]
        problem = name_problem(path)
        if problem:
            _refuse("S415", f"{repo} has the name {show(path)}: {problem}")
        if entry.get("type") == "directory":
            folders.add(path)
            continue
        if path in files:
            _refuse("S415", f"{repo} lists {show(path)} twice")
        files[path] = _file(repo, path, entry)
    check_names(repo, files, folders)
    return files


def _file(repo: str, path: str, entry: Mapping[str, Any]) -> HubFile:
    lfs = entry.get("lfs")
    size, digest, pattern = entry.get("size"), entry.get("oid"), GIT
    if isinstance(lfs, dict):
        size, digest, pattern = lfs.get("size", size), lfs.get("oid", lfs.get("sha256")), SHA256
    if not isinstance(digest, str) or not pattern.fullmatch(digest):
        what = "sha256" if pattern is SHA256 else "git's hash of a blob"
        _refuse("S438", f"{repo}/{path}: its digest {show(str(digest))} is not {what}")
    if type(size) is not int or not 0 <= size <= MAX_SIZE:
        _refuse("S438", f"{repo}/{path}: its size {show(str(size))} is not a number of bytes")
    return HubFile(path, size, digest)


def name_problem(path: str) -> str | None:
    """Return why a path is unsafe on some system, or None."""
    if len(path.encode("utf-8", "surrogatepass")) > 800:
        return "it is longer than 800 bytes"
    for part in path.split("/"):
        if part in ("", ".", ".."):
            return "it may leave the repository" if part == ".." else "a part of it is empty"
        if not NAME.fullmatch(part) or not part.isprintable():
            return "it has a character that some file systems do not allow"
        if len(part.encode()) > 240:
            return "a part of it is longer than 240 bytes"
        if RESERVED.fullmatch(part) or part[-1] in " .":
            return "Windows reserves it"
    if path.startswith((".cache/huggingface", ".git/")):
        return "tools keep their own files there"
    return None


def check_names(repo: str, files: Iterable[str], folders: Iterable[str]) -> None:
    """Refuse two names that some file system treats as one, and a file that is also a folder."""
    files = set(files)
    all_folders = set(folders)
    for path in files:
        parts = path.split("/")
        all_folders.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
    for path in sorted(files & all_folders):
        _refuse("S415", f"{repo} has {show(path)} as a file and as a folder")
    seen: dict[str, str] = {}
    for path in sorted(files | all_folders):
        key = unicodedata.normalize("NFC", path).casefold()
        other = seen.setdefault(key, path)
        if other != path:
            names = f"{show(other)} and {show(path)}"
            _refuse("S415", f"{repo} has {names}, which some systems treat as one name")


def _refuse(code: str, message: str) -> NoReturn:
    hint = "the repository is damaged or hostile: use another, or tell its owner"
    raise ComposerError(Problem(code, message, hint=hint))
