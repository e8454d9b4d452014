"""Copy a bundle to make it your own.

The copy stands alone: its manifest, and its weights where they ship too.

Example: composer new my-asr --like mega-asr-mini
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from composer.cli.printing import echo


def command(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A new or empty folder.", show_default=False)
    ],
    like: Annotated[
        str, typer.Option(metavar="BUNDLE", help="The shipped bundle to start from.")
    ] = "mega-asr-mini",
) -> None:
    from composer.jobs.create import create

    target = create(folder, like=like)
    echo(f"{target}: composer check {folder} checks it")
