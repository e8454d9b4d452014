"""Make a bundle of one's own from another."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from composer.core.errors import ComposerError, Problem
from composer.core.output import unwritable
from composer.manifest import find_manifest
from composer.sources.resolve import ResolvedBundle, find_bundle
from composer.sources.shipped import shipped, shipped_bundles

UNWANTED = ("__pycache__", "README.md", "bundle.lock")
SCHEMA = re.compile(r"^# yaml-language-server: \$schema=(\S+)$", re.M)


def create(folder: str | Path, *, like: str = "mega-asr-mini") -> Path:
    """Copy a bundle into a new or empty folder, and return the path of the copy's manifest.

    `like` is a shipped name or a folder. The copy is named after its folder and stands alone: its
    manifest, its schema, and its weights where they lie beside it.

    Raise ComposerError where there is no such bundle (S474), where it is on the Hub or the folder
    is not empty (R542), or where the folder cannot be written (R507).
    """
    folder = Path(folder)
    shipped = shipped_bundles().get(like)
    found = ResolvedBundle(shipped) if shipped else find_bundle(like)
    manifest = find_manifest(found.path) if found.path.is_dir() else found.path
    if found.repository:
        message = f"{like} is on the Hub: fetch a copy, and name its folder"
        raise ComposerError(Problem("R542", message))
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ComposerError(Problem("R542", f"{folder} is not an empty folder"))
        target = _copy(manifest, folder)
        _rename(target, folder)
        _point_at_schema(manifest, target)
    except shutil.Error as error:
        raise ComposerError(Problem("R542", f"cannot copy: {error.args[0][0][2]}")) from None
    except OSError as error:
        raise unwritable(folder, error) from None
    return target


def _copy(manifest: Path, folder: Path) -> Path:
    """Copy a manifest, with all that lies in its folder where that is its own."""
    if manifest.name in ("bundle.yaml", "bundle.json"):
        shutil.copytree(manifest.parent, folder, dirs_exist_ok=True, ignore=_unwanted)
        return folder / manifest.name
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"bundle{manifest.suffix}"
    shutil.copyfile(manifest, target)
    return target


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
        schema = shipped("schemas") / schema.name
    if schema.is_file():
        shutil.copyfile(schema, target.parent / schema.name)
        text = f"{text[: found.start(1)]}./{schema.name}{text[found.end(1) :]}"
        target.write_text(text, "utf-8")
