"""List shipped bundles, families of checkpoints, or components.

Of each bundle: what it does (composer run --task NAME runs any task), the size of its files, its
licence, whether these are on this machine (here), and whether it runs on it as fast as it can
(fast): its files fit into memory, and each part runs on the backend that suits this machine.
Piped, a line a bundle with tabs between the values, the size in bytes and the summary last, and
nothing of systems that are planned. With --json also why one is slow, its variants and what is
verified: layout, a folder with the published names and shapes is sound; golden, a small model
of this shape with random weights gives the numbers of transformers; miniature, its weights
ship too and its answers are tested.

Example: composer list --components
"""

from __future__ import annotations

import sys
from shutil import get_terminal_size
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated

import typer

from composer.cli.colour import Colour
from composer.cli.options import Json
from composer.cli.printing import echo, echo_coloured
from composer.cli.table import Row, tab_separated, table_lines
from composer.core.output import json_text

if TYPE_CHECKING:
    from composer.jobs.catalogue import Catalogue, ShippedBundle

HEAD = ("NAME", "DOES", "SIZE", "LICENCE", "HERE", "FAST")
YES = {True: "yes", False: "no"}


def command(
    components: Annotated[
        bool, typer.Option("--components", help="List the kinds of components and their settings.")
    ] = False,
    families: Annotated[
        bool,
        typer.Option("--families", help="List the checkpoints that run without a manifest."),
    ] = False,
    json: Json = False,
) -> None:
    from composer.jobs.catalogue import catalogue

    if components and families:
        raise typer.BadParameter("--components and --families list different things")
    if components:
        _components(json)
        return
    found = catalogue()
    if families:
        _families(found, json)
        return
    if json:
        planned = [{"name": name, **vars(entry)} for name, entry in found.planned.items()]
        echo(json_text({"bundles": [vars(each) for each in found.bundles], "planned": planned}))
    elif sys.stdout.isatty():
        _table(found)
    else:
        for line in tab_separated([_values(each) for each in found.bundles]):
            echo(line)


def _table(found: Catalogue) -> None:
    columns = get_terminal_size().columns
    head, *lines = table_lines(HEAD, [_row(each) for each in found.bundles], columns)
    echo_coloured(head, Colour.HEAD)
    for line in lines:
        echo(line)
    for name, entry in found.planned.items():
        missing = "; ".join(entry.missing)
        text = f"planned: {name}, {entry.summary} (missing: {missing})"
        echo("\n".join(["", *wrap(text, columns, subsequent_indent="  ")]))


def _row(each: ShippedBundle) -> Row:
    from composer.core.units import format_bytes

    size = "?" if each.nbytes is None else format_bytes(each.nbytes)
    cells = (each.name, ", ".join(each.does), size, " and ".join(each.licence) or "not stated")
    return Row((*cells, YES[each.here], YES[not each.slow]), each.summary)


def _values(each: ShippedBundle) -> tuple[str, ...]:
    size = "" if each.nbytes is None else str(each.nbytes)
    licence, does = " and ".join(each.licence), ",".join(each.does)
    return each.name, does, size, licence, YES[each.here], YES[not each.slow], each.summary


def _families(found: Catalogue, json: bool) -> None:
    if json:
        echo(json_text([vars(each) for each in found.families]))
        return
    for each in found.families:
        stated = [f"{key}: {', '.join(values)}" for key, values in each.recognises.items()]
        echo(f"{each.name}\n  {each.summary}\n  tasks: {', '.join(each.tasks)}")
        echo(f"  recognised by {'; '.join(stated)}\n  such as {', '.join(each.ids)}")
        if each.verified:
            echo(f"  verified: {', '.join(each.verified)}")
        if each.unsettled:
            echo(f"  not settled by its files: {each.unsettled}")


def _components(json: bool) -> None:
    from composer.jobs.kinds import installed_kinds, installed_operators

    kinds, operators = installed_kinds(), installed_operators()
    if json:
        echo(json_text({"components": kinds, "operators": operators}))
        return
    for each in (*kinds, *operators):
        if "error" in each:
            echo(f"{each['name']}\n  does not import: {each['error']}")
            continue
        title = each["name"] if "config" in each else f"{each['name']} (operator)"
        echo(f"{title}\n  {each['summary']}")
        settings = ", ".join(each.get("config", {}).get("properties", ()))
        if settings:
            echo(f"  settings: {settings}")
