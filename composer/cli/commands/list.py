"""List shipped bundles and what is verified of each, families, or components.

verified: layout, a folder with the published names and shapes is sound; golden, a small model
of this shape with random weights gives the numbers of transformers; miniature, its weights
ship too and its answers are tested. Systems that are planned come last, with what is missing.

Example: composer list --components
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from composer.cli.options import Json
from composer.cli.printing import echo
from composer.core.output import json_text
from composer.core.text_columns import align

if TYPE_CHECKING:
    from composer.jobs.catalogue import Catalogue, ShippedBundle


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
        return
    ready = [(each.name, _summary(each)) for each in found.bundles]
    missing = []
    for name, entry in found.planned.items():
        missing.append((name, f"{entry.summary} (missing: {'; '.join(entry.missing)})"))
    for line in (*align(ready), "\nplanned:", *align(missing)):
        echo(line)


def _summary(bundle: ShippedBundle) -> str:
    """Return what a bundle is, with its licence, its variants and what is verified of it."""
    words = []
    if bundle.licence:
        words.append(" and ".join(bundle.licence))
    if bundle.variants:
        words.append(f"variants: {', '.join(bundle.variants)}")
    if bundle.verified:
        words.append(f"verified: {', '.join(bundle.verified)}")
    if not words:
        return bundle.summary
    return f"{bundle.summary} ({'; '.join(words)})"


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
