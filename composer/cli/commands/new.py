"""Make a bundle of your own: a copy of one, or the default manifest of a checkpoint.

A copy stands alone: its manifest, and its weights where they ship too. With --from it is the
default manifest of the checkpoint, which is recognised by its config.json.

Example: composer new my-asr --like mega-asr-mini
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from composer.cli.printing import echo_line


def command(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A new or empty folder.", show_default=False)
    ],
    like: Annotated[
        str, typer.Option(metavar="BUNDLE", help="The shipped bundle to start from.")
    ] = "mega-asr-mini",
    origin: Annotated[
        str | None,
        typer.Option("--from", metavar="ID", help="A checkpoint without a manifest: an ID of the "
                     "Hub, or a folder, into which its manifest is then written."),
    ] = None,
) -> None:  # fmt: skip
    from composer.jobs.create import create

    target = create(folder, like=like, origin=origin)
    echo_line(f"{target}: composer check {folder} checks it")
