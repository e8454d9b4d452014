"""Define a lock's file: its entries for sources, files and ports."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from composer.core.errors import ComposerError, Place, Problem
from composer.core.location import Location
from composer.formats.byte_ranges import describe_file_mode
from composer.formats.file_problems import show
from composer.formats.files import stays_in_folder
from composer.formats.strictjson import parse_object
from composer.sources.hub.ids import REPO
from composer.sources.hub.tree import name_problem
from composer.sources.lock.written import was_written_here

LOCK = "bundle.lock"
VERSION = 1
MOST_BYTES = 16 << 20
REMOVE = "remove it, and write a new lock: composer lock"


def _safe(path: str) -> str:
    problem = name_problem(path)
    if problem:
        raise ValueError(f"{show(path)} is not a safe name: {problem}")
    return path


def _repo(text: str) -> str:
    if not REPO.fullmatch(text):
        raise ValueError(f"{show(text)} is no repository")
    return text


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
Repo = Annotated[str, AfterValidator(_repo)]
Inside = Annotated[str, AfterValidator(_safe)]


class Strict(BaseModel):
    """Refuse unknown keys, and convert no types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class FileEntry(Strict):
    """The bytes of one file."""

    size: int = Field(ge=0)
    sha256: Sha256


class SourceEntry(Strict):
    """A repository at its commit, or a local folder.

    `licence` is what its card states.
    """

    repo: Repo | None = None
    commit: Commit | None = None
    licence: dict[str, str] = {}
    files: dict[Inside, FileEntry]


class LockedComponent(Strict):
    """A component's facts from its files: dims, dtype, the ports of its methods.

    Not a `CheckedComponent`: a lock is a file, and is compared on machines without headers.
    """

    use: str
    dtype: str
    dims: dict[str, int]
    ports: dict[str, str]


class LockedTask(Strict):
    """A task's inputs and outputs, by name."""

    inputs: dict[str, str]
    outputs: dict[str, str]


class LockedVariant(Strict):
    """A bundle without a variant, or in one of them."""

    components: dict[str, LockedComponent]
    tasks: dict[str, LockedTask]


class Licences(Strict):
    """The licences that the manifest states for the bundle and its parts."""

    stated: list[str]
    parts: list[dict[str, str]]


class LockFile(Strict):
    """A whole lock; sources are named as the manifest writes them."""

    lock: Literal[1]
    composer: str
    format: int
    bundle: str
    manifest: FileEntry
    licences: Licences
    sources: dict[str, SourceEntry]
    edition: LockedVariant
    variants: dict[str, LockedVariant]


@dataclass(frozen=True)
class BundleLock:
    """A lock and the file that it was read from; `named_by_user` if a user gave it."""

    path: Path
    model: LockFile
    named_by_user: bool = False

    @property
    def is_trusted(self) -> bool:
        """Return whether the user vouches for it: given explicitly, or written on this machine.

        A lock that came with a bundle fixes bytes and ports, but is not trusted.
        """
        return self.named_by_user or was_written_here(self.bytes)

    @property
    def commits(self) -> dict[str, str]:
        """Return the commit of each source that has one."""
        sources = self.model.sources.items()
        return {text: entry.commit for text, entry in sources if entry.commit}

    @property
    def bundle_commits(self) -> dict[str, str]:
        """Return the commit of the repository that contains the bundle itself, if any."""
        sources = self.model.sources.items()
        found: dict[str, str] = {}
        for text, entry in sources:
            if entry.repo and entry.commit and not text.startswith("hf:"):
                found[entry.repo.lower()] = entry.commit
        return found

    @property
    def bytes(self) -> bytes:
        """Return its text, the same for equal locks."""
        data = self.model.model_dump(exclude_none=True)
        return (json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def lock_beside(path: Path) -> Path | None:
    """Return the path with the name of a manifest's lock, if it exists, given it or its folder."""
    beside = path / LOCK if path.is_dir() else path.with_suffix(".lock")
    return beside if beside != path and os.path.lexists(beside) else None


def read_lock(path: Path, named_by_user: bool = False) -> BundleLock:
    """Read a lock; raise S464 if it is not one.

    One that is not `named_by_user` must be a regular file of its folder, not a link out of it.
    """
    data = _bytes(path, named_by_user)
    try:
        found = parse_object(Location(str(path), "", None), data, what="it")
    except ComposerError as error:
        _refuse(path, *(problem.message for problem in error.problems))
    version = found.get("lock")
    if type(version) is int and version > VERSION:
        hint = "upgrade composer, or write it again: composer lock"
        _refuse(path, f"its version is {version}, but only {VERSION} is supported", hint=hint)
    try:
        return BundleLock(path, LockFile.model_validate(found), named_by_user)
    except ValidationError as error:
        _refuse(path, *(_describe_error(each) for each in error.errors()[:8]))


def _bytes(path: Path, named_by_user: bool) -> bytes:
    """Return the bytes of a regular file, opened so that a pipe does not hang."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        if not (named_by_user or stays_in_folder(path)):
            hint = "put the file itself there, or name it: --lock FILE"
            _refuse(path, "it is a link that leads out of its folder", hint=hint)
        with open(os.open(path, flags), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                _refuse(path, f"it is {describe_file_mode(status.st_mode)}", hint=REMOVE)
            if status.st_size > MOST_BYTES:
                _refuse(path, f"it is larger than {MOST_BYTES >> 20} MiB")
            return file.read(MOST_BYTES)
    except IsADirectoryError:
        _refuse(path, "it is a folder", hint=REMOVE)
    except OSError as error:
        _refuse(path, f"it cannot be read: {error.strerror or error}", hint=REMOVE)


def _describe_error(error: Any) -> str:
    where = ".".join(map(str, error["loc"]))
    return f"{where[:120]}: {str(error['msg'])[:200]}"


def _refuse(path: Path, *why: str, hint: str = "write it again: composer lock") -> NoReturn:
    message = f"this is not a lock of a bundle: {why[0]}"
    raise ComposerError(Problem("S464", message, Place(str(path)), why[1:], hint)) from None
