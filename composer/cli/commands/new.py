"""Copy a bundle to make it your own.

The copy stands alone: its manifest, and its weights where they ship too.

Example: composer new my-asr --like mega-asr-mini
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Annotated

import typer

from composer.cli.printing import say
from composer.core.output import unwritable

UNWANTED = ("__pycache__", "README.md", "bundle.lock")
SCHEMA = re.compile(r"^# yaml-language-server: \$schema=(\S+)$", re.M)


def command(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A new or empty folder.", show_default=False)
    ],
    like: Annotated[
        str, typer.Option(metavar="BUNDLE", help="The shipped bundle to start from.")
    ] = "mega-asr-mini",
) -> None:
    from composer.core.location import Location
    from composer.sources.hub import snapshot_of
    from composer.sources.resolve import find_bundle
    from composer.sources.shipped import shipped_bundles

    manifest = shipped_bundles().get(like) or find_bundle(like).path
    if manifest.is_dir():
        from composer.manifest import find_manifest

        manifest = find_manifest(manifest)
    if snapshot_of(Location("", "", manifest.parent)):
        raise typer.BadParameter(f"{like} is on the Hub: fetch a copy, and name its folder")
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise typer.BadParameter(f"{folder} is not an empty folder")
        if manifest.name in ("bundle.yaml", "bundle.json"):
            shutil.copytree(manifest.parent, folder, dirs_exist_ok=True, ignore=_unwanted)
            target = folder / manifest.name
        else:
            folder.mkdir(parents=True, exist_ok=True)
            target = folder / f"bundle{manifest.suffix}"
            shutil.copyfile(manifest, target)
        _rename(target, folder)
        _point_at_schema(manifest, target)
    except shutil.Error as error:
        raise typer.BadParameter(f"cannot copy: {error.args[0][0][2]}") from None
    except OSError as error:
        raise unwritable(folder, error) from None
    say(f"{target}: composer check {folder} checks it")


def _unwanted(_: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(".") or name in UNWANTED]


def _rename(target: Path, folder: Path) -> None:
    """Name the copy after its folder, where that makes a name."""
    name = re.sub(r"[^a-z0-9-]+", "-", folder.resolve().name.lower()).strip("-")
    if name:
        text = target.read_text("utf-8")
        target.write_text(re.sub(r"(?m)^name: .*$", f"name: {name}", text, count=1), "utf-8")


def _point_at_schema(manifest: Path, target: Path) -> None:
    """Make the editor's comment find the schema from the copy's place, by a copy beside it."""
    text = target.read_text("utf-8")
    found = SCHEMA.search(text)
    if not found or "://" in found[1]:
        return
    schema = (manifest.parent / found[1]).resolve()
    if not schema.is_file():
        from composer.sources.shipped import shipped

        schema = shipped("schemas") / schema.name
    if schema.is_file():
        shutil.copyfile(schema, target.parent / schema.name)
        text = f"{text[: found.start(1)]}./{schema.name}{text[found.end(1) :]}"
        target.write_text(text, "utf-8")
