"""List shipped bundles and what is verified of each, or kinds of components.

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
from composer.core.output import as_json

if TYPE_CHECKING:
    from composer.jobs.catalogue import ShippedBundle


def command(
    components: Annotated[
        bool, typer.Option("--components", help="List the kinds of components and their knobs.")
    ] = False,
    json: Json = False,
) -> None:
    from composer.jobs.catalogue import catalogue

    if components:
        _components(json)
        return
    found = catalogue()
    if json:
        planned = [{"name": name, **vars(entry)} for name, entry in found.planned.items()]
        echo(as_json({"bundles": [vars(each) for each in found.bundles], "planned": planned}))
        return
    width = max((len(each.name) for each in found.bundles), default=0)
    for each in found.bundles:
        about = f" ({'; '.join(_about(each))})" if _about(each) else ""
        echo(f"{each.name.ljust(width)}  {each.summary}{about}")
    echo("\nplanned:")
    width = max((len(name) for name in found.planned), default=0)
    for name, entry in found.planned.items():
        echo(f"{name.ljust(width)}  {entry.summary} (missing: {'; '.join(entry.missing)})")


def _about(bundle: ShippedBundle) -> list[str]:
    words = [" and ".join(bundle.licence)] if bundle.licence else []
    words += [f"variants: {', '.join(bundle.variants)}"] if bundle.variants else []
    words += [f"verified: {', '.join(bundle.verified)}"] if bundle.verified else []
    return words


def _components(json: bool) -> None:
    from composer.jobs.kinds import installed_kinds, installed_operators

    kinds, operators = installed_kinds(), installed_operators()
    if json:
        echo(as_json({"components": kinds, "operators": operators}))
        return
    for each in (*kinds, *operators):
        if "error" in each:
            echo(f"{each['name']}\n  does not import: {each['error']}")
            continue
        knobs = ", ".join(each.get("config", {}).get("properties", ()))
        title = each["name"] if "config" in each else f"{each['name']} (operator)"
        echo(f"{title}\n  {each['summary']}" + (f"\n  knobs: {knobs}" if knobs else ""))
