"""Download files of the Hub, each verified before it has a name, resumed wherever it broke off."""

from __future__ import annotations

import errno
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from composer.errors import ComposerError, Problem, in_order
from composer.headers.refusal import listing
from composer.hub import settings
from composer.hub.abreast import abreast
from composer.hub.cache import digest_of, is_verified, link, local, remember
from composer.hub.client import get
from composer.hub.needs import Need
from composer.hub.part import Part, Tell
from composer.hub.progress import progress
from composer.hub.ranges import SPAN, hold_answer
from composer.hub.snapshots import Snapshot
from composer.hub.tree import HubFile
from composer.hub.trouble import Cut, broken, is_network, network, refused

MOST_FILES = 2_000
MOST_BYTES = 512 * 10**9
AT_ONCE = 4
TRIES = 5
WAIT = 0.1  # seconds, twice as long before each next try
GAIN = 1 << 20  # a try that brought so many bytes does not count
STALE = 7 * 86_400.0


@dataclass
class Fetched:
    """What a fetch did: files and bytes that it downloaded."""

    files: int = 0
    bytes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)


def held(need: Need) -> bool:
    """Tell whether a file is here, and verified."""
    return is_verified(need.snapshot, need.file)


def fetch(needs: Iterable[Need]) -> Fetched:
    """Download and verify what is not here; raise ComposerError with every problem there was.

    Several processes may fetch the same at once: one downloads, the others wait for it.
    """
    waiting = [need for need in needs if not held(need)]
    hold_here(waiting)
    hold_budget(waiting)
    done, stop = Fetched(), threading.Event()
    if not waiting:
        return done
    for home in {need.snapshot.home for need in waiting}:
        sweep(home)
    problems: list[Problem] = []
    total = sum(need.file.size for need in waiting)
    with progress(total, len(waiting)) as tell:

        def one(need: Need) -> None:
            try:
                _fetch(need.snapshot, need.file, done, tell, stop)
            except ComposerError as error:
                problems.extend(error.problems)
                stop.set()

        try:
            abreast(one, sorted(waiting, key=lambda need: -need.file.size), AT_ONCE)
        finally:
            stop.set()
    if any(problem.code == "S439" for problem in problems):
        for need in waiting:  # a full disk needs the room
            _part(need.snapshot, need.file).unlink(missing_ok=True)
    if problems:
        raise ComposerError(in_order(problems))
    return done


def fetch_file(snapshot: Snapshot, file: HubFile) -> None:
    """Download and verify one file, if it is not here."""
    if not is_verified(snapshot, file):
        _fetch(snapshot, file, Fetched(), lambda _: None, threading.Event())


def hold_here(needs: Iterable[Need]) -> None:
    """Where the network is forbidden, refuse what is not in the cache, all of it at once."""
    if not settings.offline():
        return
    missing = [str(n) for n in needs if not (n.snapshot.root / n.file.path).is_file()]
    if missing:
        files = "1 file is" if len(missing) == 1 else f"{len(missing)} files are"
        message = f"{files} not in the cache, and HF_HUB_OFFLINE is set"
        hint = "fetch it where there is a network: composer pull"
        network("S499", message, listing(missing), hint=hint)


def hold_budget(needs: Iterable[Need]) -> None:
    """Refuse more files or bytes than any bundle needs, and more than the disk has room for."""
    needs = list(needs)
    total = sum(need.file.size for need in needs)
    if len(needs) > MOST_FILES or total > MOST_BYTES:
        message = f"the bundle needs {len(needs)} files of {total / 1e9:.4g} GB"
        hint = f"at most {MOST_FILES} files of {MOST_BYTES / 1e9:.0f} GB are downloaded"
        refused("S416", message, hint=hint)
    missing = [n for n in needs if local(n.snapshot, n.file) is None]
    wanted = sum(need.file.size - _part_size(need.snapshot, need.file) for need in missing)
    free = _free(settings.cache())
    if missing and free is not None and wanted > free:
        _full(settings.cache(), wanted, free)


def _fetch(
    snapshot: Snapshot, file: HubFile, done: Fetched, tell: Tell, stop: threading.Event
) -> None:
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
            hint = "fetch it again where there is a network: composer pull"
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
    place, told = _part(snapshot, file), 0
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
        before, why = part.size, Cut("the answers are short")
        try:
            _append(url, snapshot, part, stop)
        except Cut as cut:
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
        hold_answer(answer, snapshot, file)
        if at and not _continues(answer.status, answer.headers.get("content-range", ""), at, file):
            part.drop()  # the server begins again, or knows no such range
            if answer.status != 200:
                return
        said, left = answer.headers.get("content-length"), file.size - part.size
        if said is not None and said != str(left):
            where = f"{snapshot.repo}/{file.path}"
            refused("S419", f"{where}: the answer has {said[:20]} bytes; wanted {left}")
        for chunk in answer.chunks(left):
            part.add(chunk)
            if stop.is_set():
                return


def _continues(status: int, said: str, at: int, file: HubFile) -> bool:
    span = SPAN.fullmatch(said)
    wanted = (at, file.size - 1, file.size)
    return status == 206 and span is not None and tuple(map(int, span.groups())) == wanted


def _part(snapshot: Snapshot, file: HubFile) -> Path:
    return snapshot.home / "blobs" / f"{file.digest}.composer-part"


def _part_size(snapshot: Snapshot, file: HubFile) -> int:
    try:
        return _part(snapshot, file).stat().st_size
    except OSError:
        return 0


def sweep(home: Path) -> None:
    """Remove parts of downloads that nobody went on with for a week."""
    for part in home.glob("blobs/*.composer-part"):
        try:
            if time.time() - part.stat().st_mtime > STALE:
                part.unlink()
        except OSError:
            continue


def _free(place: Path) -> int | None:
    for folder in (place, *place.parents):
        try:
            return shutil.disk_usage(folder).free
        except OSError:
            continue
    return None


def _unwritable(snapshot: Snapshot, file: HubFile, error: OSError) -> NoReturn:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        part = _part(snapshot, file)
        wanted = file.size - _part_size(snapshot, file)
        part.unlink(missing_ok=True)
        _full(settings.cache(), wanted, _free(settings.cache()) or 0)
    why = error.strerror or str(error)
    message = f"{snapshot.repo}/{file.path} cannot be kept in {settings.cache()}: {why}"
    refused("S439", message, hint="set HF_HOME or HF_HUB_CACHE to a folder that can be written")


def _full(place: Path, wanted: int, free: int) -> NoReturn:
    message = f"there is no room in {place}: {wanted / 1e9:.3g} GB needed, {free / 1e9:.3g} GB free"
    hint = "make room (composer cache lists what is there), or set HF_HOME to another disk"
    refused("S439", message, hint=hint)
