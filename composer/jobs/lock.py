"""Lock a bundle's bytes, and verify them later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from composer.core.errors import ComposerError, Problem
from composer.core.output import OutputFile
from composer.jobs.progress import JobProgress, OnProgress, no_progress
from composer.manifest import find_manifest
from composer.publishing.lock import lock_path, make_lock
from composer.publishing.verify import VerifyResult
from composer.publishing.verify import verify as verify_files
from composer.sources.hub import Hub
from composer.sources.lock.written import remember_lock, was_written_here
from composer.sources.resolve import ResolvedBundle, find_bundle
from composer.sources.shipped import shipped_folder


@dataclass(frozen=True)
class LockResult:
    """A lock that was written: where it lies, and how many sources, files and bytes it names."""

    path: Path
    sources: int
    files: int
    nbytes: int


def lock(
    bundle: str | Path,
    *,
    output: str | Path | None = None,
    sources: Mapping[str, Path] | None = None,
    force: bool = False,
    progress: OnProgress = no_progress,
) -> LockResult:
    """Write the lock of a bundle: commits, digests, ports and licences, in every variant.

    It lies beside the manifest, or in the file `output`, which a bundle that ships or is on the Hub
    needs. `sources` are folders that stand in for sources. Of files on the Hub the small ones are
    fetched. With `force` a file is replaced that is no lock of this machine. `progress` is called
    with the stage "checking".

    Raise ComposerError where the bundle is refused (any code), where it cannot be locked in its
    place (R542), or where the file cannot be written or would be replaced (R507).
    """
    found = find_bundle(bundle)
    if output is None and not _is_own(found):
        message = f"'{bundle}' is not yours to lock in its place: name a file by -o"
        raise ComposerError(Problem("R542", message))
    path = Path(output) if output else lock_path(_manifest(found))
    target = OutputFile(path, force, was_written_here)
    progress(JobProgress("checking", str(bundle)))
    made = make_lock(found, sources or {})
    target.write(made.bytes)
    remember_lock(made.bytes)
    files = [file for entry in made.model.sources.values() for file in entry.files.values()]
    nbytes = sum(file.size for file in files)
    return LockResult(path, len(made.model.sources), len(files), nbytes)


def verify(
    bundle: str | Path,
    *,
    lock: str | Path | None = None,
    sources: Mapping[str, Path] | None = None,
    progress: OnProgress = no_progress,
) -> VerifyResult:
    """Compare a bundle's files, manifest and ports with its lock, without a network.

    `lock` is taken for the one beside the manifest; `sources` are folders by the sources' names.
    `.problems` is everything that differs, `.files` and `.nbytes` what was hashed. `progress` is
    called with the stage "hashing".

    Raise ComposerError where there is no lock (S464), or where it or the manifest cannot be read.
    """
    found = find_bundle(bundle, Path(lock) if lock else None, Hub(offline=True))
    progress(JobProgress("hashing", str(bundle)))
    return verify_files(found, sources or {})


def _manifest(bundle: ResolvedBundle) -> Path:
    return find_manifest(bundle.path) if bundle.path.is_dir() else bundle.path


def _is_own(bundle: ResolvedBundle) -> bool:
    """Return whether a bundle neither ships nor is in the cache of the Hub."""
    folder = (bundle.path if bundle.path.is_dir() else bundle.path.parent).resolve()
    ships = folder.is_relative_to(shipped_folder("bundles").resolve())
    return not ships and bundle.repository is None
