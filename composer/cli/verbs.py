"""Find the verbs, the files of `commands/`, and load one when it is called."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from typer.main import get_command_from_info
from typer.models import CommandInfo

FOLDER = Path(__file__).parent / "commands"
# How --help lists them: what one does first, first. A verb that is not named here comes last.
ORDER = (
    "check plan show run transcribe batch align chat serve pull cache lock verify licences publish "
    "tap diff eval bench quantize list use new explain schema doctor"
).split()


@cache
def verb_names() -> tuple[str, ...]:
    """Return the names of all verbs."""
    names = sorted(path.stem for path in FOLDER.glob("[!_]*.py"))
    known = [name for name in ORDER if name in names]
    return (*known, *(name for name in names if name not in known))


def verb_summary(name: str) -> str:
    """Return the first line of a verb's help, without importing the verb."""
    with (FOLDER / f"{name}.py").open(encoding="utf-8") as file:
        return file.readline().strip().strip('"')


def load_verb(name: str) -> Any:
    """Import a verb; return its command, whose help is its module's docstring."""
    module = import_module(f"composer.cli.commands.{name}")
    info = CommandInfo(name=name, callback=module.command, help=module.__doc__)
    return get_command_from_info(info, pretty_exceptions_short=False, rich_markup_mode=None)
