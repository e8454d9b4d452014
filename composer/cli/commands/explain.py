"""Explain an error, a component, an operator, or a key.

A component's settings are explained too, nested ones after dots, and the keys of a manifest.
Without a name, lists the errors.

Example: composer explain W209
"""

from __future__ import annotations

from typing import Annotated

import typer

from composer.cli.completion import complete_code
from composer.cli.printing import echo


def command(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", autocompletion=complete_code,
                       help="An error's code (W209), a kind of component "
                       "(audio.log_mel), its method or setting (audio.log_mel.pad), an operator "
                       "(scatter) or a key of a manifest (inputs.split).", show_default=False),
    ] = None,
) -> None:  # fmt: skip
    from composer.jobs.explain import error_index
    from composer.jobs.explain import explain as explained

    echo(explained(name) if name else error_index())
