"""Download one file of the Hub, verified before use, resuming an interrupted download."""

from __future__ import annotations

import errno
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from composer.core.errors import ComposerError
from composer.sources.hub import settings
from composer.sources.hub.cache import (
    cached_path,
    digest_of,
    is_verified,
    link_into_snapshot,
    remember_verified,
)
from composer.sources.hub.client import open_url
from composer.sources.hub.errors import (
    ConnectionLost,
    is_connection_failure,
    raise_connection_lost,
    raise_refused,
)
from composer.sources.hub.partial_download import OnBytes, PartialDownload
from composer.sources.hub.response import SPAN, check_response_headers
from composer.sources.hub.snapshots import Snapshot
from composer.sources.hub.tree import HubFile

TRIES = 5
WAIT = 0.1  # seconds, twice as long before each next try
GAIN = 1 << 20  # a try that brought so many bytes does not count


@dataclass
class DownloadCount:
    """The number of files and bytes that a fetch downloaded."""

    files: int = 0
    bytes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)


def fetch_file(snapshot: Snapshot, file: HubFile) -> None:
    """Download and verify one file unless it is cached."""
    if not is_verified(snapshot, file):
        fetch_into(snapshot, file, DownloadCount(), lambda _: None, threading.Event())


def fetch_into(
    snapshot: Snapshot, file: HubFile, done: DownloadCount, on_bytes: OnBytes, stop: threading.Event
) -> None:
    """Download one file unless it is cached; count it in `done`, report bytes as they arrive."""
    if stop.is_set():
        return
    if _is_complete(cached_path(snapshot, file), file):
        # Nothing is written for it, so that a cache that may only be read will do.
        remember_verified(snapshot, file, (snapshot.root / file.path).resolve())
        on_bytes(file.size)
        return
    locks = settings.cache_folder() / ".locks" / settings.folder_name(snapshot.repo)
    try:
        locks.mkdir(parents=True, exist_ok=True)
        with _download_lock(locks / f"{file.digest}.lock", stop):
            if stop.is_set():
                return
            if is_verified(snapshot, file) or _reuse_existing(snapshot, file):
                on_bytes(file.size)
                return
            _download(snapshot, file, on_bytes, stop)
        if stop.is_set():
            return
        with done.lock:
            done.files, done.bytes = done.files + 1, done.bytes + file.size
    except OSError as error:
        _raise_write_error(snapshot, file, error)


@contextmanager
def _download_lock(path: Path, stop: threading.Event) -> Iterator[None]:
    """Wait until no other process fetches this file, or until stopped."""
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    while not stop.is_set():
        try:
            lock.acquire(timeout=1)
            break
        except Timeout:
            continue
    try:
        yield
    finally:
        lock.release()


def _reuse_existing(snapshot: Snapshot, file: HubFile) -> bool:
    """Verify and reuse a file from another tool or commit; remove a wrong one."""
    for path in (cached_path(snapshot, file), snapshot.blob(file)):
        if path is None or not path.is_file():
            continue
        if _is_complete(path.resolve(), file):
            if cached_path(snapshot, file) is None:
                link_into_snapshot(snapshot, file)
            remember_verified(snapshot, file, (snapshot.root / file.path).resolve())
            return True
        if snapshot.offline:
            hint = "download it again while online: composer pull"
            message = f"{snapshot.repo}/{file.path} in the cache does not match the listing"
            raise_refused("S418", message, hint=hint)
        path.unlink(missing_ok=True)
    return False


def _is_complete(real: Path | None, file: HubFile) -> bool:
    if real is None or not real.is_relative_to(settings.cache_folder().resolve()):
        return False
    return real.stat().st_size == file.size and digest_of(real, file) == file.digest


def _download(snapshot: Snapshot, file: HubFile, on_bytes: OnBytes, stop: threading.Event) -> None:
    """Download a complete file; fetch one with a wrong digest once more, then refuse it."""
    path, reported = part_of(snapshot, file), 0
    path.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(2):
        with PartialDownload(path, file, on_bytes, reported) as part:
            _collect(snapshot, part, stop)
            digest, reported = part.digest.hexdigest(), part.reported
        if stop.is_set():
            return
        if digest == file.digest:
            path.replace(snapshot.blob(file))
            link_into_snapshot(snapshot, file)
            remember_verified(snapshot, file, (snapshot.root / file.path).resolve())
            return
        path.unlink(missing_ok=True)
        if attempt:
            raise_refused(
                "S418",
                f"{snapshot.repo}/{file.path} does not match the listing",
                f"{file.algorithm} is {digest[:16]}..., wanted {file.digest[:16]}...",
                hint="it was fetched twice and removed; try again later, or another endpoint",
            )


def _collect(snapshot: Snapshot, part: PartialDownload, stop: threading.Event) -> None:
    """Append to a part until it is complete; keep it only after a network failure."""
    url, file, tries = snapshot.url(part.file.path), part.file, 0
    while part.size < file.size and not stop.is_set():
        before, why = part.size, ConnectionLost("the answers are short")
        try:
            _append(url, snapshot, part, stop)
        except ConnectionLost as lost:
            why = lost
        except ComposerError as error:
            if not (is_connection_failure(error) and part.size):
                part.path.unlink(missing_ok=True)
            raise
        if part.size == file.size or stop.is_set():
            return
        tries = 0 if part.size - before >= GAIN else tries + 1
        if tries == TRIES or part.restarts == TRIES:
            raise_connection_lost(url, why, f", at {part.size} of {file.size} bytes")
        time.sleep(WAIT * 2**tries if tries else 0)


def _append(url: str, snapshot: Snapshot, part: PartialDownload, stop: threading.Event) -> None:
    """Request the rest of a file, and write it as it arrives."""
    file, at = part.file, part.size
    headers = {"Range": f"bytes={at}-"} if at else {}
    with open_url(url, headers=headers, offline=snapshot.offline) as answer:
        check_response_headers(answer, snapshot, file)
        if at and not _continues(answer.status, answer.headers.get("content-range", ""), at, file):
            part.restart()  # the server begins again, or knows no such range
            if answer.status != 200:
                return
        value, remaining = answer.headers.get("content-length"), file.size - part.size
        if value is not None and value != str(remaining):
            where = f"{snapshot.repo}/{file.path}"
            raise_refused(
                "S419", f"{where}: the answer has {value[:20]} bytes; expected {remaining}"
            )
        for chunk in answer.chunks(remaining):
            part.add(chunk)
            if stop.is_set():
                return


def _continues(status: int, value: str, at: int, file: HubFile) -> bool:
    span = SPAN.fullmatch(value)
    needed = (at, file.size - 1, file.size)
    return status == 206 and span is not None and tuple(map(int, span.groups())) == needed


def part_of(snapshot: Snapshot, file: HubFile) -> Path:
    """Return the path of a file's partial download."""
    return snapshot.home / "blobs" / f"{file.digest}.composer-part"


def part_size(snapshot: Snapshot, file: HubFile) -> int:
    """Return how many bytes of a file are already downloaded."""
    try:
        return part_of(snapshot, file).stat().st_size
    except OSError:
        return 0


def free_space(path: Path) -> int | None:
    """Return the free bytes of a folder's disk, or None if unknown."""
    for folder in (path, *path.parents):
        try:
            return shutil.disk_usage(folder).free
        except OSError:
            continue
    return None


def _raise_write_error(snapshot: Snapshot, file: HubFile, error: OSError) -> NoReturn:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        part = part_of(snapshot, file)
        needed = file.size - part_size(snapshot, file)
        part.unlink(missing_ok=True)
        raise_disk_full(settings.cache_folder(), needed, free_space(settings.cache_folder()) or 0)
    why = error.strerror or str(error)
    message = f"{snapshot.repo}/{file.path} cannot be stored in {settings.cache_folder()}: {why}"
    raise_refused(
        "S439", message, hint="set HF_HOME or HF_HUB_CACHE to a folder that can be written"
    )


def raise_disk_full(path: Path, needed: int, free: int) -> NoReturn:
    """Raise S439 for a full disk."""
    sizes = f"{needed / 1e9:.3g} GB needed, {free / 1e9:.3g} GB free"
    message = f"there is not enough space in {path}: {sizes}"
    hint = "free some space (composer cache lists what is there), or set HF_HOME to another disk"
    raise_refused("S439", message, hint=hint)
