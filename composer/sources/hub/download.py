"""Download files of the Hub, each verified before it has a name, resumed wherever it broke off."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from pathlib import Path

from composer.core.errors import ComposerError, Problem, in_order
from composer.formats.refusal import join_names
from composer.sources.hub import settings
from composer.sources.hub.cache import is_verified, local
from composer.sources.hub.progress import progress
from composer.sources.hub.required_file import RequiredFile
from composer.sources.hub.run_parallel import run_parallel
from composer.sources.hub.transfer import (
    Fetched,
    disk_full,
    fetch_into,
    free_space,
    part_of,
    part_size,
)
from composer.sources.hub.trouble import network, refused

MOST_FILES = 2_000
MOST_BYTES = 512 * 10**9
AT_ONCE = 4
STALE = 7 * 86_400.0


def held(need: RequiredFile) -> bool:
    """Tell whether a file is here, and verified."""
    return is_verified(need.snapshot, need.file)


def fetch(needs: Iterable[RequiredFile]) -> Fetched:
    """Download and verify what is not here; raise ComposerError with every problem there was.

    Several processes may fetch the same at once: one downloads, the others wait for it.
    """
    waiting = [need for need in needs if not held(need)]
    require_cached(waiting)
    check_download_budget(waiting)
    done, stop = Fetched(), threading.Event()
    if not waiting:
        return done
    for home in {need.snapshot.home for need in waiting}:
        sweep(home)
    problems: list[Problem] = []
    total = sum(need.file.size for need in waiting)
    with progress(total, len(waiting)) as tell:

        def one(need: RequiredFile) -> None:
            try:
                fetch_into(need.snapshot, need.file, done, tell, stop)
            except ComposerError as error:
                problems.extend(error.problems)
                stop.set()

        try:
            run_parallel(one, sorted(waiting, key=lambda need: -need.file.size), AT_ONCE)
        finally:
            stop.set()
    if any(problem.code == "S439" for problem in problems):
        for need in waiting:  # a full disk needs the room
            part_of(need.snapshot, need.file).unlink(missing_ok=True)
    if problems:
        raise ComposerError(in_order(problems))
    return done


def require_cached(needs: Iterable[RequiredFile]) -> None:
    """Where the network is forbidden, refuse what is not in the cache, all of it at once."""
    if not settings.offline():
        return
    missing = [str(n) for n in needs if not (n.snapshot.root / n.file.path).is_file()]
    if missing:
        files = "1 file is" if len(missing) == 1 else f"{len(missing)} files are"
        message = f"{files} not in the cache, and HF_HUB_OFFLINE is set"
        hint = "fetch it where there is a network: composer pull"
        network("S499", message, join_names(missing), hint=hint)


def check_download_budget(needs: Iterable[RequiredFile]) -> None:
    """Refuse more files or bytes than any bundle needs, and more than the disk has room for."""
    needs = list(needs)
    total = sum(need.file.size for need in needs)
    if len(needs) > MOST_FILES or total > MOST_BYTES:
        message = f"the bundle needs {len(needs)} files of {total / 1e9:.4g} GB"
        hint = f"at most {MOST_FILES} files of {MOST_BYTES / 1e9:.0f} GB are downloaded"
        refused("S416", message, hint=hint)
    missing = [n for n in needs if local(n.snapshot, n.file) is None]
    wanted = sum(need.file.size - part_size(need.snapshot, need.file) for need in missing)
    free = free_space(settings.cache())
    if missing and free is not None and wanted > free:
        disk_full(settings.cache(), wanted, free)


def sweep(home: Path) -> None:
    """Remove parts of downloads that nobody went on with for a week."""
    for part in home.glob("blobs/*.composer-part"):
        try:
            if time.time() - part.stat().st_mtime > STALE:
                part.unlink()
        except OSError:
            continue
