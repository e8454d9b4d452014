"""Make a bundle of one's own from another."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from composer.core.errors import ComposerError, Problem
from composer.core.output import unwritable
from composer.manifest import find_manifest
from composer.sources.families import SOURCE
from composer.sources.resolve import ResolvedBundle, find_bundle
from composer.sources.shipped import shipped, shipped_bundles

UNWANTED = ("__pycache__", "README.md", "bundle.lock")
RECOGNISES = re.compile(r"^recognises:.*\n(?:  .*\n)*", re.M)
SCHEMA = re.compile(r"^# yaml-language-server: \$schema=(\S+)$", re.M)


def create(folder: str | Path, *, like: str = "mega-asr-mini", origin: str | None = None) -> Path:
    """Write a bundle into a new or empty folder, and return the path of its manifest.

    It is a copy of `like`, a shipped name or a folder: its manifest, its schema, and its weights
    where they lie beside it. Or it is the manifest of the family of `origin`, an ID of the Hub
    or a folder of a checkpoint, with that as its source; the manifest of a folder is written into
    that folder. It is named after the folder that it is written to.

    Raise ComposerError where there is no such bundle (S474) or family (S456), where a copied bundle
    is on the Hub or the folder is not empty (R542), or where it cannot be written (R507).
    """
    folder = Path(folder)
    if origin is not None:
        return _create_from(folder, origin)
    shipped = shipped_bundles().get(like)
    found = ResolvedBundle(shipped) if shipped else find_bundle(like)
    manifest = find_manifest(found.path) if found.path.is_dir() else found.path
    if found.repository:
        message = f"{like} is on the Hub: fetch a copy, and name its folder"
        raise ComposerError(Problem("R542", message))
    try:
        _require_empty(folder)
        target = _copy(manifest, folder)
        _rename(target, folder)
        _point_at_schema(manifest, target)
    except shutil.Error as error:
        raise ComposerError(Problem("R542", f"cannot copy: {error.args[0][0][2]}")) from None
    except OSError as error:
        raise unwritable(folder, error) from None
    return target


def _create_from(folder: Path, origin: str) -> Path:
    """Write the manifest of a family's checkpoint, which becomes its source."""
    found = find_bundle(origin)
    source = found.origin
    if source is None:
        message = f"{origin} has a manifest, which is not inferred"
        raise ComposerError(Problem("R542", message, hint="copy it with --like"))
    if isinstance(source, Path) and source.resolve() != folder.resolve():
        message = f"a manifest has no source outside of its folder, and {origin} is one"
        raise ComposerError(Problem("R542", message, hint=f"write it there: {origin}"))
    text = found.path.read_text("utf-8")
    if not isinstance(source, Path):
        text = text.replace(f"  {SOURCE}: ./\n", f"  {SOURCE}: {source}\n", 1)
    try:
        if not isinstance(source, Path):
            _require_empty(folder)
            folder.mkdir(parents=True, exist_ok=True)
        target = folder / "bundle.yaml"
        target.write_text(RECOGNISES.sub("", text), "utf-8")
        _rename(target, folder)
        _point_at_schema(found.path, target)
    except OSError as error:
        raise unwritable(folder, error) from None
    return target


def _require_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ComposerError(Problem("R542", f"{folder} is not an empty folder"))


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
