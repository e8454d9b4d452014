"""Put a bundle on the Hub, so that others run it by its ID.

Checks every variant, locks it, and writes a model card from the manifest: summary, graph,
licences and how to run it; a README.md of your own is kept. What is uploaded is the manifest,
the lock, the card, licences and notes (LICENSE, NOTICE, *.md), and the files that a component
reads; all else is left out. What others could not fetch is refused. Nothing is uploaded
without --yes, which also leaves the lock and the card in the folder.

Example: composer publish my-bundle me/my-bundle
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from composer.cli.options import Force
from composer.cli.printing import count, echo, print_note
from composer.cli.progress import show_progress
from composer.core.text_columns import align_right


def command(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The bundle's folder.", show_default=False)
    ],
    repository: Annotated[
        str,
        typer.Argument(metavar="OWNER/NAME", help="The repository on the Hub.", show_default=False),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do it: without this, only say what.")] = False,
    private: Annotated[
        bool, typer.Option("--private", help="Make a repository that only its owner can read.")
    ] = False,
    force: Force = False,
    card: Annotated[bool, typer.Option("--card", help="Print the model card alone.")] = False,
) -> None:
    from composer.core.units import format_bytes
    from composer.jobs.publish import prepare_publication, upload_publication
    from composer.publishing.publish import CARD, upload_size

    with show_progress() as progress:
        ready = prepare_publication(folder, repository, progress=progress)
    if card:
        data = ready.files[CARD]
        if isinstance(data, Path):
            data = data.read_bytes()
        echo(data.decode("utf-8", "replace"), "")
        return
    contents = sorted(ready.files.items())
    sizes = align_right([format_bytes(upload_size(content)) for _, content in contents])
    for (name, content), nbytes in zip(contents, sizes, strict=True):
        made = "  (made)" if isinstance(content, bytes) else ""
        echo(f"{nbytes}  {name}{made}")
    for name in ready.left_out:
        print_note(f"left out: {name}")
    total = f"{count(len(ready.files), 'file')}, {format_bytes(ready.nbytes)}"
    if not yes:
        echo(f"{ready.id.repo}: {total} would be uploaded; --yes does it")
        return
    with show_progress() as progress:
        address = upload_publication(ready, private=private, force=force, progress=progress)
    echo(f"{ready.id.repo}: {total} uploaded, {address}")
