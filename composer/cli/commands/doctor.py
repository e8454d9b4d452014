"""Check whether composer works on this machine.

Lists versions, tries to load each backend, each kind of component and whatever else packages
add, and says where the shipped bundles lie. What is broken is marked by `!` and makes the exit
code 5.

Example: composer doctor
"""

from __future__ import annotations

import typer

from composer.cli.printing import echo
from composer.core.errors import FAILED


def command() -> None:
    from composer.jobs.diagnose import diagnose

    section, broken = "", False
    for finding in diagnose():
        if finding.section != section:
            section = finding.section
            echo(section)
        broken |= not finding.ok
        echo(f"{'  ' if finding.ok else '! '}{finding.text}")
    if broken:
        raise typer.Exit(FAILED)
