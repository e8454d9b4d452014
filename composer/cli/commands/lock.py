"""Write down the bytes, the ports and the licences of a bundle.

The lock lies beside the manifest, bundle.lock, and is used wherever the bundle is: each source
is taken at the commit that was locked, and what differs is refused. Every variant is locked. A
bundle that ships, or that is on the Hub, is locked into the file that -o names, and run with
it by --lock. Of files on
the Hub only the small ones are fetched for it. The same bundle gives the same bytes.

What you have locked on this machine is not tried in a child process before it is loaded.

Example: composer lock my-bundle
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from composer.cli.options import BundleName, Sources, folders
from composer.cli.printing import count, say, waiting
from composer.core.output import write_file


def command(
    bundle: BundleName,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write to a file."),
    ] = None,
    source: Sources = None,
) -> None:
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
