"""Put a bundle on the Hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from composer.core.errors import ComposerError, Problem
from composer.jobs.progress import JobProgress, OnProgress, no_progress
from composer.publishing.publish import (
    Publication,
    generated_files,
    plan_upload,
    upload,
    write_generated,
)
from composer.sources.hub import parse_id


@dataclass(frozen=True)
class PublishResult:
    """A bundle on the Hub: what was uploaded, and the address of the commit."""

    publication: Publication
    address: str


def publish(
    folder: str | Path,
    repository: str,
    *,
    private: bool = False,
    force: bool = False,
    progress: OnProgress = no_progress,
) -> PublishResult:
    """Upload the bundle of a folder to a repository of the Hub, so that others run it by its ID.

    `repository` is owner/name; with `private`, one that has to be made is only its owner's. Every
    variant is checked and locked, and a model card is written; the manifest, the lock, the card,
    licences and notes, and the files that a component reads are uploaded in one commit, and
    nothing else. The lock and the card are also left in the folder; with `force` also in place of a
    lock that was not written on this machine. `progress` is called with the
    stages "checking" and "uploading".

    Raise ComposerError where the bundle is refused (any code) or others could not fetch it (S468),
    where the call is wrong (R542), where the Hub refuses it (S469) or is out of reach (S490 to
    S499), or where the folder cannot be written or such a lock is there (R507).
    """
    ready = prepare_publication(folder, repository, progress=progress)
    address = upload_publication(ready, private=private, force=force, progress=progress)
    return PublishResult(ready, address)


def prepare_publication(
    folder: str | Path, repository: str, *, progress: OnProgress = no_progress
) -> Publication:
    """Return what `publish` would upload, and upload and write nothing.

    `.files` are by their name on the Hub: a path, or the bytes of what is made; `.left_out` are
    the other files of the folder. Raise ComposerError as `publish` does.
    """
    id, folder = parse_id(repository), Path(folder)
    if id.revision:
        message = "it is published to the main branch: leave @... out"
        raise ComposerError(Problem("R542", message))
    if not folder.is_dir():
        raise ComposerError(Problem("R542", f"{folder} is not a folder"))
    progress(JobProgress("checking", str(folder)))
    return plan_upload(folder, id)


def upload_publication(
    ready: Publication,
    *,
    private: bool = False,
    force: bool = False,
    progress: OnProgress = no_progress,
) -> str:
    """Upload what was prepared, leave what was made in the folder, and return the address.

    Raise ComposerError as `publish` does.
    """
    targets = generated_files(ready, force)
    progress(JobProgress("uploading", ready.id.repo))
    address = upload(ready, private)
    write_generated(ready, targets)
    return address
