"""Put a bundle on the Hub: checked, locked, with a card, and only what others can fetch."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from composer.core.errors import ComposerError, Place, Problem, in_order
from composer.core.location import Location
from composer.core.output import OutputFile
from composer.formats.byte_ranges import describe_file_mode
from composer.formats.file_problems import show, show_bare
from composer.graph.files import component_files
from composer.manifest import find_manifest
from composer.publishing.lock import Editions, check_all, lock_of
from composer.publishing.modelcard import MARK, model_card
from composer.sources.hub import HubId, settings
from composer.sources.hub.client import http_errors
from composer.sources.hub.errors import raise_network_error
from composer.sources.hub.files import check_file_kind
from composer.sources.hub.tree import check_names, name_problem
from composer.sources.lock.entries import LOCK
from composer.sources.lock.written import remember_lock, was_written_here
from composer.sources.resolve import ResolvedBundle

CARD = "README.md"
BESIDE = "tokenizer_config.json"  # read by other runtimes, with a tokenizer.json
MOVED = (409, 412)  # the answers of the Hub where a branch is no longer at the stated commit
ANEW = "look at what is there now, then publish again"
LOG_IN = "log in with a token that may write (hf auth login), and use a name that is yours"
TEXTS = ("LICENSE*", "LICENCE*", "NOTICE*", "*.md")


@dataclass(frozen=True)
class Publication:
    """What to upload, by remote name: a file of the folder, or generated text."""

    id: HubId
    folder: Path
    files: Mapping[str, Path | bytes]
    left_out: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        return sum(map(upload_size, self.files.values()))


def upload_size(content: Path | bytes) -> int:
    """Return the bytes of what is uploaded."""
    if isinstance(content, bytes):
        return len(content)
    return content.stat().st_size


def plan_upload(folder: Path, id: HubId) -> Publication:
    """Check and lock the bundle of a folder and make its card; nothing is written.

    Raise ComposerError if it is refused, and S468 if others could not fetch what it needs.
    """
    manifest = find_manifest(folder)
    editions = check_all(ResolvedBundle(manifest))
    own = _own_files(editions, folder)
    files: dict[str, Path | bytes] = {manifest.name: manifest}
    for pattern in TEXTS:
        for path in sorted(folder.glob(pattern)):
            if not path.is_dir():
                files[path.name] = path
    _require_own(folder, files)
    files |= own
    lock = lock_of(editions)
    files[LOCK] = lock.bytes
    card = folder / CARD
    if CARD not in files or MARK in card.read_text("utf-8", "replace"):
        files[CARD] = model_card(editions, lock, id).encode()
    check_names(id.repo, files, ())
    left_out = set()
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not name.startswith(".") and name not in files:
            left_out.add(name)
    return Publication(id, folder, files, tuple(sorted(left_out)))


def _require_own(folder: Path, names: Iterable[str]) -> None:
    """Refuse anything but regular files of the folder: a link would upload its target."""
    problems = []
    for name in names:
        reason = _symlink_problem(folder, folder / name)
        if reason:
            message = f"{name} is not uploaded: {reason}"
            hint = "put a copy of the file itself there, or remove it"
            problems.append(Problem("S468", message, Place(str(folder / name)), hint=hint))
    if problems:
        raise ComposerError(problems)


def _symlink_problem(folder: Path, path: Path) -> str | None:
    """Return why a path is not a regular file in the folder itself, or None."""
    for part in (path, *path.parents):
        if part == folder:
            break
        if part.is_symlink():
            return "it is a link" if part == path else f"{part.name} is a link"
    mode = path.lstat().st_mode
    if stat.S_ISREG(mode):
        return None
    return f"it is {describe_file_mode(mode)}"


def _own_files(editions: Editions, folder: Path) -> dict[str, Path]:
    """Return the folder's files that components read; refuse those that others could not fetch."""
    found: dict[str, Path] = {}
    problems: list[Problem] = []
    for checked in editions.values():
        for name, known in checked.components.items():
            place = checked.manifest.place("components", name, key=True)
            for location in component_files(known):
                if checked.manifest.sources[location.source].kind == "hf":
                    continue
                assert location.path
                path = location.path.relative_to(folder).as_posix()
                reason = _difference(location, path, folder)
                if reason:
                    message = f"{path} could not be fetched by others: {reason}"
                    problems.append(Problem("S468", message, place))
                found[path] = location.path
                beside = location.path.with_name(BESIDE)
                if location.path.name == "tokenizer.json" and beside.is_file():
                    reason = _symlink_problem(folder, beside)
                    if reason:
                        message = f"{BESIDE} is not uploaded: {reason}"
                        problems.append(Problem("S468", message, Place(str(beside))))
                    found[beside.relative_to(folder).as_posix()] = beside
    if problems:
        raise ComposerError(in_order(problems))
    return found


def _difference(location: Location, path: str, folder: Path) -> str | None:
    assert location.path
    if reason := _symlink_problem(folder, location.path) or name_problem(path):
        return reason
    try:
        check_file_kind(location, path, external=True)
    except ComposerError:
        return f"{show(location.path.suffix)} is a type of file that is never downloaded"
    return None


def generated_files(publication: Publication, force: bool) -> dict[str, OutputFile]:
    """Return the files that are made, by name; raise R507 for what they would replace.

    A card is made where there is none, or one that was made.
    """
    targets = {}
    for name, content in publication.files.items():
        if isinstance(content, bytes):
            is_own = was_written_here if name == LOCK else None
            targets[name] = OutputFile(publication.folder / name, force or name == CARD, is_own)
    return targets


def write_generated(publication: Publication, targets: Mapping[str, OutputFile]) -> None:
    """Write the lock and the card into the folder as uploaded."""
    for name, target in targets.items():
        content = publication.files[name]
        assert isinstance(content, bytes)
        target.write(content)
        if name == LOCK:
            remember_lock(content)


def upload(publication: Publication, private: bool) -> str:
    """Upload everything in one commit and return its address; raise S469 where that is refused.

    So it is where another commit came to the branch meanwhile: nothing of that is replaced.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    repo = publication.id.repo
    if settings.is_offline():
        raise_network_error("S499", f"HF_HUB_OFFLINE is set, and {repo} cannot be uploaded")
    adds = []
    for name, content in publication.files.items():
        data = content if isinstance(content, bytes) else str(content)
        adds.append(CommitOperationAdd(name, data))
    api = HfApi(endpoint=settings.endpoint())
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        head = api.model_info(repo).sha
        done = api.create_commit(
            repo, adds, commit_message="Publish the bundle", parent_commit=head
        )
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", 0)
        if status in MOVED:
            _refused(repo, "another commit came in between", ANEW)
        if status >= 500:
            raise_network_error(
                "S495", f"the Hub fails with status {status}", hint="try again later"
            )
        _refused(repo, f"status {status}: {_line(error)}")
    except HFValidationError as error:
        _refused(repo, _line(error))
    except (KeyError, TypeError, ValueError) as error:
        how = f"{type(error).__name__}: {_line(error)}"
        raise_network_error("S495", f"the Hub answers otherwise than the client expects ({how})")
    except http_errors() as error:
        if type(error).__name__ == "LocalTokenNotFoundError":
            _refused(repo, "no token is stored here")
        raise_network_error("S490", f"cannot upload to {settings.endpoint()}: {_line(error)}")
    return str(getattr(done, "commit_url", "") or f"{settings.endpoint()}/{repo}")


def _refused(repo: str, why: str, hint: str = LOG_IN) -> NoReturn:
    raise ComposerError(Problem("S469", f"the Hub refuses to take {repo}: {why}", hint=hint))


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return show_bare(lines[0])
