"""Compare a cache or folder with a lock, without a network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from composer.checker import check_variant
from composer.checker.lock_differences import TAKE, WRITE, source_text
from composer.core.errors import ComposerError, Problem, errors_of, in_order
from composer.core.location import Location
from composer.formats.file_problems import show
from composer.manifest import Manifest, Source, read_manifest
from composer.sources.hub import Hub, settings
from composer.sources.lock.digests import rehash
from composer.sources.lock.entries import BundleLock, FileEntry, SourceEntry, read_lock
from composer.sources.resolve import ResolvedBundle


@dataclass(frozen=True)
class VerifyResult:
    """The result of comparing files with a lock: counts, and everything that differs."""

    lock: BundleLock
    files: int
    nbytes: int
    problems: tuple[Problem, ...]


def verify(bundle: ResolvedBundle, sources: Mapping[str, Path] | None = None) -> VerifyResult:
    """Hash every locked file, and compare manifest and ports; `sources` are folders by name.

    Raise ComposerError if there is no lock, or if it or the manifest cannot be read.
    """
    if bundle.lock is None:
        message = f"{bundle.path} has no lock"
        hint = "composer lock writes one; --lock names another file"
        raise ComposerError(Problem("S464", message, hint=hint))
    lock = read_lock(bundle.lock, bundle.given)
    bare = read_manifest(bundle.path)
    manifests = [bare, *(read_manifest(bundle.path, variant) for variant in bare.variants)]
    differing: list[Problem] = []
    found: list[Problem] = []
    files = nbytes = 0
    for text, entry in lock.model.sources.items():
        if text not in map(source_text, _sources(manifests)):
            message = f"{lock.path.name} names the source {show(text)}, which is not there"
            differing.append(Problem("S466", message, manifests[0].place("sources"), hint=WRITE))
            continue
        root = _root(text, entry, manifests, sources or {})
        if root is None:
            message = f"{text} was locked from a folder, which is not given"
            hint = "name it: --source NAME=FOLDER"
            differing.append(Problem("S465", message, hint=hint))
            continue
        differing += _file_problems(lock, text, root, entry)
        files += len(entry.files)
        nbytes += sum(file.size for file in entry.files.values())
    bare_name = replace(bundle, variant=None, hub=Hub(offline=True))
    for each in manifests:
        report = check_variant(bare_name, each.variant, sources=sources)
        found += errors_of(report.problems)
    if differing:  # then the check reports the same again, and its consequences
        found = [problem for problem in found if problem.code == "S466"]
    return VerifyResult(lock, files, nbytes, (*differing, *in_order(found)))


def _sources(manifests: list[Manifest]) -> Iterator[Source]:
    for manifest in manifests:
        yield from manifest.sources.values()


def _root(
    text: str, entry: SourceEntry, manifests: list[Manifest], given: Mapping[str, Path]
) -> Path | None:
    """Return the folder of a locked source: given, in the cache, or beside the manifest."""
    for manifest in manifests:
        for name, source in manifest.sources.items():
            if source_text(source) == text and name in given:
                return given[name]
    if text.startswith("hf:"):
        if not (entry.repo and entry.commit):
            return None
        home = settings.cache_folder() / settings.folder_name(entry.repo)
        return home / "snapshots" / entry.commit
    return manifests[0].folder / text


def _file_problems(
    lock: BundleLock, text: str, root: Path, entry: SourceEntry
) -> Iterator[Problem]:
    for inside, file in entry.files.items():
        why = _difference(root / inside, file)
        if why:
            where = Location(text.rstrip("/"), inside, root)
            message = f"{where} differs from {lock.path.name}"
            yield Problem("S465", message, None, (why, str(root / inside)), TAKE)


def _difference(path: Path, file: FileEntry) -> str | None:
    try:
        size = path.stat().st_size
        if size != file.size:
            return f"{size} bytes, locked {file.size}"
        digest = rehash(path)
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"
    if digest != file.sha256:
        return f"sha256 is {digest[:16]}..., locked {file.sha256[:16]}..."
    return None
