"""Download one file of the Hub, verified before it has a name, resumed wherever it broke off."""

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
from composer.sources.hub.cache import digest_of, is_verified, link, local, remember
from composer.sources.hub.client import get
from composer.sources.hub.part import Part, Tell
from composer.sources.hub.response import SPAN, check_answer
from composer.sources.hub.snapshots import Snapshot
from composer.sources.hub.tree import HubFile
from composer.sources.hub.trouble import ConnectionLost, broken, is_network, refused

TRIES = 5
WAIT = 0.1  # seconds, twice as long before each next try
GAIN = 1 << 20  # a try that brought so many bytes does not count


@dataclass
class Fetched:
    """What a fetch did: files and bytes that it downloaded."""

    files: int = 0
    bytes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)


def fetch_file(snapshot: Snapshot, file: HubFile) -> None:
    """Download and verify one file, if it is not here."""
    if not is_verified(snapshot, file):
        fetch_into(snapshot, file, Fetched(), lambda _: None, threading.Event())


def fetch_into(
    snapshot: Snapshot, file: HubFile, done: Fetched, tell: Tell, stop: threading.Event
) -> None:
    """Bring one file here unless it is; count it in `done`, tell bytes as they come."""
    if stop.is_set():
        return
    if _is_whole(local(snapshot, file), file):
        # Nothing is written for it, so that a cache that may only be read will do.
        remember(snapshot, file, (snapshot.root / file.path).resolve())
        tell(file.size)
        return
    locks = settings.cache() / ".locks" / settings.folder_name(snapshot.repo)
    try:
        locks.mkdir(parents=True, exist_ok=True)
        with _locked(locks / f"{file.digest}.lock", stop):
            if stop.is_set():
                return
            if is_verified(snapshot, file) or _already(snapshot, file):
                tell(file.size)
                return
            _download(snapshot, file, tell, stop)
        if stop.is_set():
            return
        with done.lock:
            done.files, done.bytes = done.files + 1, done.bytes + file.size
    except OSError as error:
        _unwritable(snapshot, file, error)


@contextmanager
def _locked(place: Path, stop: threading.Event) -> Iterator[None]:
    """Wait until no other process fetches this file, or until there is no point in it any more."""
    from filelock import FileLock, Timeout

    lock = FileLock(place)
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


def _already(snapshot: Snapshot, file: HubFile) -> bool:
    """Verify what another tool, or another commit, left here; remove what is not the file."""
    for place in (local(snapshot, file), snapshot.blob(file)):
        if place is None or not place.is_file():
            continue
        if _is_whole(place.resolve(), file):
            if local(snapshot, file) is None:
                link(snapshot, file)
            remember(snapshot, file, (snapshot.root / file.path).resolve())
            return True
        if settings.offline():
            hint = "download it again where there is a network: composer pull"
            message = f"{snapshot.repo}/{file.path} in the cache is not what the listing names"
            refused("S418", message, hint=hint)
        place.unlink(missing_ok=True)
    return False


def _is_whole(real: Path | None, file: HubFile) -> bool:
    if real is None or not real.is_relative_to(settings.cache().resolve()):
        return False
    return real.stat().st_size == file.size and digest_of(real, file) == file.digest


def _download(snapshot: Snapshot, file: HubFile, tell: Tell, stop: threading.Event) -> None:
    """Bring a file here whole; what differs from its digest is fetched once more, then refused."""
    place, told = part_of(snapshot, file), 0
    place.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(2):
        with Part(place, file, tell, told) as part:
            _collect(snapshot, part, stop)
            digest, told = part.digest.hexdigest(), part.told
        if stop.is_set():
            return
        if digest == file.digest:
            place.replace(snapshot.blob(file))
            link(snapshot, file)
            remember(snapshot, file, (snapshot.root / file.path).resolve())
            return
        place.unlink(missing_ok=True)
        if attempt:
            refused(
                "S418",
                f"{snapshot.repo}/{file.path} is not what the listing names",
                f"{file.algorithm} is {digest[:16]}..., wanted {file.digest[:16]}...",
                hint="it was fetched twice and removed; try again later, or another endpoint",
            )


def _collect(snapshot: Snapshot, part: Part, stop: threading.Event) -> None:
    """Append to a part until it is whole; keep it where the network fails, and only there."""
    url, file, tries = snapshot.url(part.file.path), part.file, 0
    while part.size < file.size and not stop.is_set():
        before, why = part.size, ConnectionLost("the answers are short")
        try:
            _append(url, snapshot, part, stop)
        except ConnectionLost as cut:
            why = cut
        except ComposerError as error:
            if not (is_network(error) and part.size):
                part.place.unlink(missing_ok=True)
            raise
        if part.size == file.size or stop.is_set():
            return
        tries = 0 if part.size - before >= GAIN else tries + 1
        if tries == TRIES or part.drops == TRIES:
            broken(url, why, f", at {part.size} of {file.size} bytes")
        time.sleep(WAIT * 2**tries if tries else 0)


def _append(url: str, snapshot: Snapshot, part: Part, stop: threading.Event) -> None:
    """Ask for the rest of a file, and write it as it comes."""
    file, at = part.file, part.size
    headers = {"Range": f"bytes={at}-"} if at else {}
    with get(url, headers=headers) as answer:
        check_answer(answer, snapshot, file)
        if at and not _continues(answer.status, answer.headers.get("content-range", ""), at, file):
            part.drop()  # the server begins again, or knows no such range
            if answer.status != 200:
                return
        said, left = answer.headers.get("content-length"), file.size - part.size
        if said is not None and said != str(left):
            where = f"{snapshot.repo}/{file.path}"
            refused("S419", f"{where}: the answer has {said[:20]} bytes; expected {left}")
        for chunk in answer.chunks(left):
            part.add(chunk)
            if stop.is_set():
                return


def _continues(status: int, said: str, at: int, file: HubFile) -> bool:
    span = SPAN.fullmatch(said)
    wanted = (at, file.size - 1, file.size)
    return status == 206 and span is not None and tuple(map(int, span.groups())) == wanted


def part_of(snapshot: Snapshot, file: HubFile) -> Path:
    """Return where a file lies until it is whole."""
    return snapshot.home / "blobs" / f"{file.digest}.composer-part"


def part_size(snapshot: Snapshot, file: HubFile) -> int:
    """Return how many bytes of a file are here already."""
    try:
        return part_of(snapshot, file).stat().st_size
    except OSError:
        return 0


def free_space(place: Path) -> int | None:
    """Return the bytes that a folder's disk has left, None where nobody can tell."""
    for folder in (place, *place.parents):
        try:
            return shutil.disk_usage(folder).free
        except OSError:
            continue
    return None


def _unwritable(snapshot: Snapshot, file: HubFile, error: OSError) -> NoReturn:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        part = part_of(snapshot, file)
        wanted = file.size - part_size(snapshot, file)
        part.unlink(missing_ok=True)
        disk_full(settings.cache(), wanted, free_space(settings.cache()) or 0)
    why = error.strerror or str(error)
    message = f"{snapshot.repo}/{file.path} cannot be kept in {settings.cache()}: {why}"
    refused("S439", message, hint="set HF_HOME or HF_HUB_CACHE to a folder that can be written")


def disk_full(place: Path, wanted: int, free: int) -> NoReturn:
    """Refuse for lack of room."""
    message = f"there is no room in {place}: {wanted / 1e9:.3g} GB needed, {free / 1e9:.3g} GB free"
    hint = "make room (composer cache lists what is there), or set HF_HOME to another disk"
    refused("S439", message, hint=hint)
