"""Explain an error or a kind of component.

Without a name, lists the errors.

Example: composer explain W209
"""

from __future__ import annotations

from typing import Annotated

import typer

from composer.cli.printing import say


def command(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[CODE|COMPONENT]", help="An error's code, such as W209, or a kind "
                       "of component, such as audio.log_mel.", show_default=False),
    ] = None,
) -> None:  # fmt: skip
    from composer.jobs.explain import explain as explained
    from composer.jobs.explain import index

    say(explained(name) if name else index())
