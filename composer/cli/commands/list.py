"""List shipped bundles and what is verified of each, or kinds of components.

verified: layout, a folder with the published names and shapes is sound; golden, a small model
of this shape with random weights gives the numbers of transformers; miniature, its weights
ship too and its answers are tested. Systems that are planned come last, with what is missing.

Example: composer list --components
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from composer.cli.options import Json
from composer.cli.printing import say
from composer.core.output import as_json

if TYPE_CHECKING:
    from composer.manifest import Manifest


def command(
    components: Annotated[
        bool, typer.Option("--components", help="List the kinds of components and their knobs.")
    ] = False,
    json: Json = False,
) -> None:
    if components:
        _components()
        return
    rows = _rows()
    if json:
        say(as_json(rows))
        return
    width = max((len(row["name"]) for row in rows["bundles"]), default=0)
    for row in rows["bundles"]:
        words = [" and ".join(row["licence"])] if row["licence"] else []
        words += [f"variants: {', '.join(row['variants'])}"] if row["variants"] else []
        words += [f"verified: {', '.join(row['verified'])}"] if row["verified"] else []
        about = f" ({'; '.join(words)})" if words else ""
        say(f"{row['name'].ljust(width)}  {row['summary']}{about}")
        if row["make"]:
            say(f"{' ' * width}  to be converted: {row['make']}")
    say("\nplanned:")
    width = max((len(row["name"]) for row in rows["planned"]), default=0)
    for row in rows["planned"]:
        say(f"{row['name'].ljust(width)}  {row['summary']} (missing: {'; '.join(row['missing'])})")


def _rows() -> dict[str, Any]:
    """Return what ships and what is planned, as JSON holds it."""
    from composer.core.errors import ComposerError
    from composer.manifest import read_manifest
    from composer.sources.catalogue import catalogue
    from composer.sources.shipped import shipped_bundles

    bundles = []
    for name, path in shipped_bundles().items():
        try:
            manifest: Manifest | None = read_manifest(path)
        except ComposerError:
            manifest = None
        status = catalogue().bundles.get(name)
        bundles.append(
            {
                "name": name,
                "summary": manifest.summary if manifest
                else f"cannot be read: composer check {name} tells why",
                "licence": list(manifest.licence) if manifest else [],
                "variants": list(manifest.variants) if manifest else [],
                "publishes": list(manifest.publishes) if manifest else [],
                "verified": list(status.verified) if status else [],
                "make": status.make if status else None,
            }
        )  # fmt: skip
    planned = [{"name": name, **entry.model_dump()} for name, entry in catalogue().planned.items()]
    return {"bundles": bundles, "planned": planned}


def _components() -> None:
    from composer.core import registry
    from composer.jobs.explain import knobs

    for name in registry.names():
        try:
            kind = registry.component(name)
        except Exception as error:
            # Somebody's package is broken; the others are still worth listing.
            say(f"{name}\n  does not import: {type(error).__name__}: {error}")
            continue
        keys = ", ".join(knobs(kind))
        say(f"{name}\n  {kind.summary}" + (f"\n  knobs: {keys}" if keys else ""))
