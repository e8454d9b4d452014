"""`composer lock` and `composer verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from composer.cli.options import BundleName, Json, LockFile, Sources, folders
from composer.cli.printing import count, report, say, verdict_json, waiting
from composer.core.errors import ComposerError
from composer.core.output import write_file


def lock(
    bundle: BundleName,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write to a file."),
    ] = None,
    source: Sources = None,
) -> None:
    """Write down the bytes, the ports and the licences of a bundle.

    The lock lies beside the manifest, bundle.lock, and is used wherever the bundle is: each source
    is taken at the commit that was locked, and what differs is refused. Every variant is locked. A
    bundle that ships, or that is on the Hub, is locked into the file that -o names, and run with
    it by --lock. Of files on
    the Hub only the small ones are fetched for it. The same bundle gives the same bytes.

    What you have locked on this machine is not tried in a child process before it is loaded.

    Example: composer lock my-bundle
    """
    from composer.core.location import Location
    from composer.drawing.text import size
    from composer.publishing.lock import make_lock
    from composer.sources.hub import snapshot_of
    from composer.sources.lock.written import remember_lock
    from composer.sources.resolve import find_bundle
    from composer.sources.shipped import shipped

    found = find_bundle(bundle)
    home = (found.path if found.path.is_dir() else found.path.parent).resolve()
    own = not home.is_relative_to(shipped("bundles").resolve())
    if output is None and not (own and snapshot_of(Location("", "", home)) is None):
        raise typer.BadParameter(f"'{bundle}' is not yours to lock in its place: name a file by -o")
    with waiting("locking"):
        made = make_lock(found, folders(source))
    write_file(output or made.path, made.bytes)
    remember_lock(made.bytes)
    files = [file for entry in made.model.sources.values() for file in entry.files.values()]
    total = sum(file.size for file in files)
    sources = count(len(made.model.sources), "source")
    say(f"{output or made.path}: {sources}, {count(len(files), 'file')}, {size(total)}")


def verify(
    bundle: BundleName,
    lock: LockFile = None,
    source: Sources = None,
    json: Json = False,
) -> None:
    """Hold a bundle's files against its lock, without a network.

    Hashes every file that was locked, in the cache or in the folders that --source names, and
    compares the manifest and the ports of every variant. Lists everything that differs.

    Example: composer verify my-bundle
    """
    from composer.drawing.text import size
    from composer.publishing.verify import verify as hold
    from composer.sources.hub import settings
    from composer.sources.resolve import find_bundle

    with settings.no_network():
        found = find_bundle(bundle, lock)
    with waiting("hashing"):
        verdict = hold(found, folders(source))
    name = verdict.lock.model.bundle
    if json:
        say(verdict_json(name, verdict.problems))
    else:
        report(verdict.problems)
    if verdict.problems:
        if not json:
            say(f"{name}: {count(len(verdict.problems), 'difference')}")
        raise typer.Exit(ComposerError(verdict.problems).exit_code)
    if not json:
        files = count(verdict.files, "file")
        say(f"{name}: {files}, {size(verdict.nbytes)}, all as {verdict.lock.path.name} has them")
