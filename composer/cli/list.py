"""`composer list`."""

from __future__ import annotations

from typing import Annotated

import typer

from composer.cli.printing import say


def list_(
    components: Annotated[
        bool, typer.Option("--components", help="List the kinds of components and their knobs.")
    ] = False,
) -> None:
    """List shipped bundles, or kinds of components.

    Example: composer list --components
    """
    if components:
        from composer import registry
        from composer.explain import knobs

        for name in registry.names():
            try:
                kind = registry.component(name)
            except Exception as error:
                # Somebody's package is broken; the others are still worth listing.
                say(f"{name}\n  does not import: {type(error).__name__}: {error}")
                continue
            keys = ", ".join(knobs(kind))
            say(f"{name}\n  {kind.summary}" + (f"\n  knobs: {keys}" if keys else ""))
        return
    from composer.errors import ComposerError
    from composer.manifest import read_manifest
    from composer.shipped import shipped_bundles

    bundles = shipped_bundles()
    width = max(map(len, bundles), default=0)
    for name, path in bundles.items():
        try:
            manifest = read_manifest(path)
        except ComposerError:
            say(f"{name.ljust(width)}  cannot be read: composer check {name} tells why")
            continue
        words = [" and ".join(manifest.licence)] if manifest.licence else []
        words += [f"variants: {', '.join(manifest.variants)}"] if manifest.variants else []
        say(
            f"{name.ljust(width)}  {manifest.summary}" + (f" ({'; '.join(words)})" if words else "")
        )
