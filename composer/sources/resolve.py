"""Find a bundle by a path, a shipped name, or an ID of the Hub."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

from composer.core.errors import ComposerError, Problem
from composer.core.location import Location
from composer.core.suggest import did_you_mean, listed
from composer.formats.file_problems import join_names
from composer.manifest import FILES, read_manifest
from composer.manifest.source import MAX_BYTES
from composer.sources.catalogue import require_runnable
from composer.sources.checkpoint import (
    CONFIG,
    GENAI,
    Checkpoint,
    hub_file,
    local_checkpoint,
    mmproj_file,
)
from composer.sources.default_manifests import default_manifest
from composer.sources.hub import (
    Hub,
    HubFile,
    HubId,
    Snapshot,
    fetch_file,
    is_id,
    parse_id,
    split_file_part,
)
from composer.sources.hub.errors import is_connection_failure, raise_network_error
from composer.sources.lock.entries import LOCK, lock_beside, read_lock
from composer.sources.lock.entries import MOST_BYTES as MOST_OF_LOCK
from composer.sources.shipped import published_bundles, shipped_bundles

NOT_HERE = "a file or folder here: there is none"
NOT_SHIPPED = "a bundle that ships: there is none"


@dataclass(frozen=True)
class ResolvedBundle:
    """A manifest, the variant that the name implies, if any, and its lock.

    `given` means that the user named the lock, and it is not just the one beside the manifest.
    `repository` is that of the manifest, if it is on the Hub; its sources are requested from `hub`.
    `checkpoint` is what a default manifest was found for.
    """

    path: Path
    variant: str | None = None
    lock: Path | None = None
    given: bool = False
    repository: Snapshot | None = field(default=None, repr=False, compare=False)
    hub: Hub = field(default_factory=Hub, repr=False, compare=False)
    checkpoint: Checkpoint | None = None

    def __fspath__(self) -> str:
        return str(self.path)


def find_bundle(
    name: str | Path | ResolvedBundle, lock: Path | None = None, hub: Hub | None = None
) -> ResolvedBundle:
    """Return the manifest of a name; raise ComposerError with what was tried, in order.

    That is a path, then a shipped name, then a repository of the Hub with a manifest, then
    one that a shipped manifest `publishes`, or that a default manifest recognises. `hf:` before an
    ID skips the first two. `owner/name:PART` is the GGUF file with that part in its name. `lock` is
    used instead of the one beside the manifest; a repository that it locks is read at its commit.
    """
    if lock is None:
        return _find(name, {}, hub or Hub())
    own = read_lock(lock, named_by_user=True).bundle_commits
    return replace(_find(name, own, hub or Hub()), lock=lock, given=True)


def _find(
    name: str | Path | ResolvedBundle, commits: Mapping[str, str], hub: Hub
) -> ResolvedBundle:
    if isinstance(name, ResolvedBundle):
        return name
    if not str(name).startswith("hf:"):
        if _exists(Path(name)):
            return _of_checkpoint(Path(name), hub) or _with_lock(Path(name), hub)
        bundles = shipped_bundles()
        if str(name) in bundles:
            return _with_lock(bundles[str(name)], hub)
        if not (isinstance(name, str) and is_id(name)):
            require_runnable(str(name))
            _raise_unknown(str(name), bundles)
    return _find_on_hub(str(name), commits, hub)


def _find_on_hub(name: str, commits: Mapping[str, str], hub: Hub) -> ResolvedBundle:
    text, part = split_file_part(name)
    id = parse_id(text)
    id = HubId(id.repo, id.revision or commits.get(id.repo.lower()))
    tried = [] if name.startswith("hf:") else [f"tried {NOT_HERE}", f"tried {NOT_SHIPPED}"]
    recipes = published_bundles().get(id.repo.lower(), ())
    try:
        repository = hub.snapshot(id)
    except ComposerError as error:
        if recipes and is_connection_failure(error):
            return _shipped_for(id, recipes, hub)
        if is_connection_failure(error):
            require_runnable(id.repo)
        suggestion = None if is_connection_failure(error) else did_you_mean(id.repo, _known())
        raise ComposerError(
            replace(problem, causes=(*tried, *problem.causes), hint=suggestion or problem.hint)
            for problem in error.problems
        ) from None
    manifests = [file for file in FILES if file in repository.files]
    if part and (manifests or recipes):
        message = f"{id} has a manifest, which names its files"
        raise ComposerError(Problem("S457", message, hint=f"leave :{part} out"))
    if len(manifests) == 1:
        file = repository.files[manifests[0]]
        _check_size(repository, file, MAX_BYTES)
        fetch_file(repository, file)
        lock = repository.files.get(LOCK)
        if lock:
            _check_size(repository, lock, MOST_OF_LOCK)
            fetch_file(repository, lock)
        found = _with_lock(repository.root / file.path, hub)
        return replace(found, repository=repository)
    if manifests:
        message, hint = f"{repository} has both bundle.yaml and bundle.json", "name another"
        raise ComposerError(Problem("S456", message, hint=hint))
    if recipes:
        return _shipped_for(id, recipes, hub)
    require_runnable(id.repo)
    model = hub_file(id, repository.files, part)
    if model or CONFIG in repository.files or GENAI in repository.files:
        mmproj = mmproj_file(model, repository.files) if model else ""
        encoders = repository.location(str(id), mmproj) if mmproj else None
        manifest = default_manifest(repository.location(str(id), model), encoders)
        return ResolvedBundle(manifest.path, hub=hub, checkpoint=Checkpoint(id, model, mmproj))
    if repository.partial:
        hint = "fetch it while online: composer pull"
        raise_network_error(
            "S499", f"the bundle.yaml of {id} is not in the cache", *tried, hint=hint
        )
    raise ComposerError(
        Problem(
            "S456",
            f"{repository} is not a bundle: it has no bundle.yaml, and no shipped bundle covers it",
            causes=(*tried, f"it has {join_names(repository.folders[''])}"),
            hint=f"write one: composer new DIR, with the source {id}",
        )
    )


def _of_checkpoint(path: Path, hub: Hub) -> ResolvedBundle | None:
    """Return the default manifest for a checkpoint here that has none of its own."""
    found = local_checkpoint(path)
    if found is None:
        return None
    assert isinstance(found.folder, Path)
    name, folder = str(found.folder), found.folder
    mmproj = Location(name, found.mmproj, folder) if found.mmproj else None
    manifest = default_manifest(Location(name, found.file, folder), mmproj)
    return ResolvedBundle(manifest.path, hub=hub, checkpoint=found)


def _shipped_for(id: HubId, recipes: tuple[str, ...], hub: Hub) -> ResolvedBundle:
    """Return the shipped bundle for a repository, in the variant that reads it."""
    if len(recipes) > 1:
        message = f"several shipped bundles cover {id}: {listed(recipes)}"
        raise ComposerError(Problem("S457", message, hint="name one of them"))
    path = shipped_bundles()[recipes[0]]
    if id.revision:
        message = f"{id} is covered by the shipped bundle '{recipes[0]}', which pins its revision"
        raise ComposerError(Problem("S457", message, hint=f"leave @{id.revision} out"))
    manifest = read_manifest(path)
    if _reads(path, None, id.repo):
        return _with_lock(path, hub)
    matching = [variant for variant in manifest.variants if _reads(path, variant, id.repo)]
    if len(matching) > 1:
        message = f"several variants of '{recipes[0]}' read {id}: {listed(matching)}"
        hint = f"name the bundle and one of them: {recipes[0]} --variant {matching[0]}"
        raise ComposerError(Problem("S457", message, hint=hint))
    return _with_lock(path, hub, matching[0] if matching else None)


def _check_size(repository: Snapshot, file: HubFile, most: int) -> None:
    if file.size > most:
        message = f"{repository}: its {file.path} has {file.size} bytes"
        what = "a lock" if file.path == LOCK else "a manifest"
        raise ComposerError(Problem("S416", message, hint=f"{what} has {most} at most"))


def _with_lock(path: Path, hub: Hub, variant: str | None = None) -> ResolvedBundle:
    return ResolvedBundle(path, variant, lock_beside(path), hub=hub)


def _reads(path: Path, variant: str | None, repo: str) -> bool:
    sources = read_manifest(path, variant).sources.values()
    return any(s.kind == "hf" and s.value.lower() == repo.lower() for s in sources)


def _known() -> list[str]:
    return [*shipped_bundles(), *published_bundles()]


def _raise_unknown(name: str, bundles: Iterable[str]) -> NoReturn:
    suggestion = did_you_mean(name, _known())
    raise ComposerError(
        Problem(
            "S474",
            f"there is no bundle '{name}': neither a file or folder here nor a shipped bundle",
            hint=suggestion or f"shipped bundles: {listed(bundles)}; on the Hub it is owner/name",
        )
    )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long, or a folder that may not be entered
        return False
