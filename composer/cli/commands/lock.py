"""Write down the bytes, the ports and the licences of a bundle.

The lock lies beside the manifest, bundle.lock, and is used wherever the bundle is: each source
is taken at the commit that was locked, and what differs is refused. Every variant is locked. A
bundle that ships, or that is on the Hub, is locked into the file that -o names, and run with
it by --lock. Of files on the Hub only the small ones are fetched for it. The same bundle gives the
same bytes.

A lock that was not written on this machine, or another file, is replaced with --force alone.

What you have locked on this machine is not tried in a child process before it is loaded.

Example: composer lock my-bundle
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from composer.cli.options import BundleName, Force, Sources, source_folders
from composer.cli.printing import count, echo_line
from composer.cli.progress import show_progress


def command(
    bundle: BundleName,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write to a file."),
    ] = None,
    force: Force = False,
    source: Sources = None,
) -> None:
    from composer.core.units import format_bytes
    from composer.jobs.lock import lock

    with show_progress() as progress:
        made = lock(
            bundle, output=output, sources=source_folders(source), force=force, progress=progress
        )
    sources, files = count(made.sources, "source"), count(made.files, "file")
    echo_line(f"{made.path}: {sources}, {files}, {format_bytes(made.nbytes)}")
