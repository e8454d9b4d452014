"""Download files of the Hub, each verified before use, resuming interrupted downloads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from pathlib import Path

from composer.core.errors import ComposerError, Problem, in_order
from composer.formats.file_problems import join_names
from composer.sources.hub import settings
from composer.sources.hub.cache import cached_path, is_verified
from composer.sources.hub.errors import raise_network_error, raise_refused
from composer.sources.hub.progress import download_bar
from composer.sources.hub.required_file import RequiredFile, total_size
from composer.sources.hub.run_parallel import run_parallel
from composer.sources.hub.transfer import (
    DownloadCount,
    fetch_into,
    free_space,
    part_of,
    part_size,
    raise_disk_full,
)

MOST_FILES = 2_000
MOST_BYTES = 512 * 10**9
AT_ONCE = 4
STALE_AFTER = 7 * 86_400.0


def is_downloaded(need: RequiredFile) -> bool:
    """Return whether a file is downloaded and verified."""
    return is_verified(need.snapshot, need.file)


def download_files(needs: Iterable[RequiredFile]) -> DownloadCount:
    """Download and verify missing files; raise ComposerError with every problem.

    Several processes may fetch the same file at once: one downloads, the others wait.
    """
    pending = [need for need in needs if not is_downloaded(need)]
    _require_cached(pending)
    _check_download_budget(pending)
    result, stop = DownloadCount(), threading.Event()
    if not pending:
        return result
    for home in {need.snapshot.home for need in pending}:
        remove_stale_parts(home)
    problems: list[Problem] = []
    with download_bar(total_size(pending), len(pending)) as on_bytes:

        def fetch_one(need: RequiredFile) -> None:
            try:
                fetch_into(need.snapshot, need.file, result, on_bytes, stop)
            except ComposerError as error:
                problems.extend(error.problems)
                stop.set()

        try:
            run_parallel(fetch_one, sorted(pending, key=lambda need: -need.file.size), AT_ONCE)
        finally:
            stop.set()
    if any(problem.code == "S439" for problem in problems):
        for need in pending:  # a full disk needs the room
            part_of(need.snapshot, need.file).unlink(missing_ok=True)
    if problems:
        raise ComposerError(in_order(problems))
    return result


def _require_cached(needs: Iterable[RequiredFile]) -> None:
    """When offline, refuse all files that are not in the cache at once."""
    missing = []
    for need in needs:
        if need.snapshot.offline and not (need.snapshot.root / need.file.path).is_file():
            missing.append(str(need))
    if missing:
        files = "1 file is" if len(missing) == 1 else f"{len(missing)} files are"
        message = f"{files} not in the cache, and HF_HUB_OFFLINE is set"
        hint = "fetch it while online: composer pull"
        raise_network_error("S499", message, join_names(missing), hint=hint)


def _check_download_budget(needs: Iterable[RequiredFile]) -> None:
    """Refuse more files or bytes than any bundle needs, and more than the disk has room for."""
    needs = list(needs)
    total = total_size(needs)
    if len(needs) > MOST_FILES or total > MOST_BYTES:
        message = f"the bundle needs {len(needs)} files of {total / 1e9:.4g} GB"
        hint = f"at most {MOST_FILES} files of {MOST_BYTES / 1e9:.0f} GB are downloaded"
        raise_refused("S416", message, hint=hint)
    needed = 0
    for need in needs:
        if cached_path(need.snapshot, need.file) is None:
            needed += need.file.size - part_size(need.snapshot, need.file)
    free = free_space(settings.cache_folder())
    if free is not None and needed > free:
        raise_disk_full(settings.cache_folder(), needed, free)


def remove_stale_parts(home: Path) -> None:
    """Remove partial downloads that were not continued for a week."""
    for part in home.glob("blobs/*.composer-part"):
        try:
            if time.time() - part.stat().st_mtime > STALE_AFTER:
                part.unlink()
        except OSError:
            continue
