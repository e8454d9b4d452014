"""Keep files that a component prepares from locked ones, so that the next load finds them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from composer.core.safe_write import write_cache_file

ENTRY = "entry.json"
UNFINISHED = "unfinished-"
ABANDONED = 24 * 3600.0  # seconds after which nobody finishes a folder any more


@dataclass(frozen=True)
class PreparedFiles:
    """Folders of prepared files, a key each; `source` is the digest of what they are made from.

    Together they take at most `limit` bytes: those that were used longest ago go first. A folder
    whose files were written since it was finished is none.
    """

    folder: Path
    source: str
    limit: int

    def key(self, parts: Iterable[bytes]) -> str:
        """Return the name of what is prepared from the source and from all these parts."""
        digest = hashlib.sha256(self.source.encode())
        for part in parts:
            digest.update(hashlib.sha256(part).digest())
        return digest.hexdigest()

    def find(self, key: str) -> Path | None:
        """Return the folder of a key, with the files that were put into it, or None."""
        folder = self.folder / key
        try:
            wanted = json.loads((folder / ENTRY).read_bytes())
            if wanted != _states(folder):
                return None
            os.utime(folder)  # used now
        except (OSError, ValueError):
            return None
        return folder

    def has_room(self, nbytes: int) -> bool:
        """Return whether so much may be kept, and fits on the disk twice."""
        if nbytes > self.limit:
            return False
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            return shutil.disk_usage(self.folder).free > 2 * nbytes
        except OSError:
            return False

    @contextmanager
    def make(self, key: str) -> Iterator[Path]:
        """Give a folder to fill, private to the user; it is the key's once it was filled."""
        made = Path(mkdtemp(prefix=UNFINISHED, dir=self.folder))
        try:
            yield made
            write_cache_file(made / ENTRY, json.dumps(_states(made)))
            self._take_place(made, self.folder / key)
        finally:
            shutil.rmtree(made, ignore_errors=True)
        self._remove_oldest()

    def _take_place(self, made: Path, place: Path) -> None:
        """Move a folder to its place; one that another process put there meanwhile stays."""
        if self.find(place.name):
            return
        shutil.rmtree(place, ignore_errors=True)
        try:
            made.rename(place)
        except OSError:
            return

    def _remove_oldest(self) -> None:
        """Remove what was used longest ago beyond the limit, and what nobody finished."""
        left = self.limit
        for entry in entries(self.folder):
            left -= entry.nbytes
            if left < 0:
                shutil.rmtree(entry.folder, ignore_errors=True)
        for made in self.folder.glob(f"{UNFINISHED}*"):
            if time.time() - _used(made) > ABANDONED:
                shutil.rmtree(made, ignore_errors=True)


@dataclass(frozen=True)
class PreparedEntry:
    """A folder of prepared files, their bytes, and when it was used last, in seconds since 1970."""

    folder: Path
    nbytes: int
    used: float


def entries(folder: Path) -> list[PreparedEntry]:
    """Return the folders of prepared files, the one that was used last first."""
    found = []
    for note in folder.glob(f"*/{ENTRY}"):
        try:
            nbytes = sum(state[0] for state in _states(note.parent).values())
        except OSError:
            continue
        found.append(PreparedEntry(note.parent, nbytes, _used(note.parent)))
    return sorted(found, key=lambda entry: -entry.used)


def _used(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def _states(folder: Path) -> dict[str, list[int]]:
    """Return what changes when a file of a folder does; its change time cannot be set back."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name != ENTRY:
            state = path.lstat()
            times = [state.st_mtime_ns, state.st_ctime_ns]
            found[path.name] = [state.st_size, *times, state.st_ino, state.st_mode, state.st_uid]
    return found


_prepared: ContextVar[PreparedFiles | None] = ContextVar("prepared", default=None)


def prepared_files() -> PreparedFiles | None:
    """Return where what is loaded now keeps prepared files; None where none may be kept."""
    return _prepared.get()


@contextmanager
def keep_prepared_files(files: PreparedFiles | None) -> Iterator[None]:
    """Keep prepared files there for a while."""
    before = _prepared.set(files)
    try:
        yield
    finally:
        _prepared.reset(before)
