"""Choose the bundle that composer transcribe takes where none is named.

The choice is kept in composer/settings.json, in XDG_CONFIG_HOME or else in ~/.config. Without a
name, it is printed.

Example: composer use mega-asr-mini
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from composer.cli.completion import complete_bundle
from composer.cli.printing import echo, print_note
from composer.core.errors import ComposerError, Problem


def command(
    bundle: Annotated[
        str | None,
        typer.Argument(
            metavar="[BUNDLE]", show_default=False, autocompletion=complete_bundle,
            help="A bundle that transcribes, as composer transcribe would take it.",
        ),
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="Choose none again.")] = False,
) -> None:  # fmt: skip
    from composer.cli.default_bundle import HOW_TO_CHOOSE
    from composer.sources.default_bundle import (
        choose_default_bundle,
        default_bundle,
        forget_default_bundle,
    )

    if bundle is not None and none:
        raise typer.BadParameter("name a bundle, or give --none")
    if none:
        forget_default_bundle()
    elif bundle is not None:
        path = choose_default_bundle(_transcribing(bundle))
        print_note(f"composer transcribe CLIP takes {bundle} now; this is kept in {path}")
    elif chosen := default_bundle():
        echo(chosen)
    else:
        print_note(f"no bundle is chosen: {HOW_TO_CHOOSE}")


def _transcribing(name: str) -> str:
    """Return how a bundle is called from everywhere; raise ComposerError where it is no use."""
    from composer.jobs.next_command import transcribes
    from composer.manifest import read_manifest
    from composer.sources.resolve import find_bundle

    found = find_bundle(name)
    if not transcribes(read_manifest(found.path, found.variant)):
        message = f"{name} does not transcribe: it has no task that makes text of audio alone"
        raise ComposerError(Problem("R543", message, hint="composer list shows which do"))
    return str(Path(name).resolve()) if Path(name).exists() else name
