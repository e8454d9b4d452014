"""Make a bundle of one's own from another."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from composer.core.errors import ComposerError, Place, Problem
from composer.core.output import OutputFile, unwritable
from composer.core.suggest import listed
from composer.manifest import find_manifest
from composer.sources.checkpoint import MMPROJ, SOURCE
from composer.sources.resolve import ResolvedBundle, find_bundle
from composer.sources.shipped import shipped_bundles, shipped_folder

UNWANTED = ("__pycache__", "README.md", "bundle.lock")
RECOGNISES = re.compile(r"^recognises:.*\n(?:  .*\n)*", re.M)
USES = re.compile(rf"\b(weights|files): ({SOURCE}|{MMPROJ})\b(?!/)")
SCHEMA = re.compile(r"^# yaml-language-server: \$schema=(\S+)$", re.M)


def create(folder: str | Path, *, like: str = "mega-asr-mini", origin: str | None = None) -> Path:
    """Write a bundle into a new or empty folder, and return the path of its manifest.

    It is a copy of `like`, a shipped name or a folder: its manifest, its schema, and its weights
    where they lie beside it. Or it is the default manifest of `origin`, an ID of the Hub
    or a folder of a checkpoint, with that as its source; the manifest of a folder is written into
    that folder. It is named after the folder that it is written to.

    Raise ComposerError where there is no such bundle (S474) or no default manifest (S456), where a
    copied bundle is on the Hub or the folder is not empty (R542), or where it cannot be written
    (R507).
    """
    folder = Path(folder)
    if origin is not None:
        return _create_from(folder, origin)
    shipped = shipped_bundles().get(like)
    found = ResolvedBundle(shipped) if shipped else find_bundle(like)
    manifest = found.path
    if manifest.is_dir():
        manifest = find_manifest(manifest)
    if found.repository:
        message = f"{like} is on the Hub: fetch a copy, and name its folder"
        raise ComposerError(Problem("R542", message))
    try:
        _require_empty(folder)
        was_there = folder.is_dir()
    except OSError as error:
        raise unwritable(folder, error) from None
    try:
        target = _copy(manifest, folder)
        _write(manifest, manifest.read_text("utf-8"), target)
    except BaseException as error:
        _remove_copy(folder, was_there)
        if isinstance(error, shutil.Error):
            raise _uncopied(folder, str(error.args[0][0][2])) from None
        if isinstance(error, OSError):
            raise unwritable(folder, error) from None
        raise
    return target


def _uncopied(folder: Path, reason: str) -> ComposerError:
    return ComposerError(Problem("R507", f"cannot copy: {reason}", Place(str(folder))))


def _remove_copy(folder: Path, was_there: bool) -> None:
    """Remove half a copy; leave a folder that was empty before."""
    for path in folder.iterdir() if was_there else (folder,):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _create_from(folder: Path, origin: str) -> Path:
    """Write the default manifest of a checkpoint, which becomes its source."""
    found = find_bundle(origin)
    checkpoint = found.checkpoint
    if checkpoint is None:
        message = f"{origin} has a manifest, which is not inferred"
        raise ComposerError(Problem("R542", message, hint="copy it with --like"))
    source, text = checkpoint.folder, found.path.read_text("utf-8")
    if checkpoint.file:
        files = checkpoint.sources
        text = USES.sub(lambda use: f"{use[1]}: {use[2]}/{files[use[2]]}", text)
    if isinstance(source, Path):
        if source.resolve() != folder.resolve():
            message = f"a manifest has no source outside of its folder, and {source} is one"
            raise ComposerError(Problem("R542", message, hint=f"write it there: {source}"))
    else:
        for name in (SOURCE, MMPROJ):
            text = text.replace(f"  {name}: ./\n", f"  {name}: {source}\n", 1)
        try:
            _require_empty(folder)
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(folder, error) from None
    target = folder / "bundle.yaml"
    _write(found.path, RECOGNISES.sub("", text), target)
    return target


def _require_empty(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ComposerError(Problem("R542", f"{folder} is not an empty folder"))


def _copy(manifest: Path, folder: Path) -> Path:
    """Copy what lies beside a manifest where the folder is its own; return the manifest's place."""
    if manifest.name in ("bundle.yaml", "bundle.json"):

        def unwanted(where: str, names: list[str]) -> list[str]:
            _require_files(Path(where), names)
            own = {manifest.name} if Path(where) == manifest.parent else set()
            return [name for name in names if name.startswith(".") or name in {*UNWANTED, *own}]

        shutil.copytree(manifest.parent, folder, dirs_exist_ok=True, ignore=unwanted)
        return folder / manifest.name
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"bundle{manifest.suffix}"


def _require_files(folder: Path, names: list[str]) -> None:
    """Refuse a folder with links: a copy would have in it what they point to."""
    links = [str(folder / name) for name in names if (folder / name).is_symlink()]
    if links:
        message = f"a copy has only files of the bundle's folder, and no links: {listed(links)}"
        raise ComposerError(Problem("R542", message, hint="put the file itself there"))


def _write(manifest: Path, text: str, target: Path) -> None:
    """Write the text of a manifest, named after its folder, and its schema beside it."""
    name = re.sub(r"[^a-z0-9-]+", "-", target.parent.resolve().name.lower()).strip("-")
    if name:
        text = re.sub(r"(?m)^name: .*$", f"name: {name}", text, count=1)
    own, schema = OutputFile(target), _schema(manifest, text)
    if schema:
        beside = OutputFile(target.parent / schema.name, is_own=schema.read_bytes().__eq__)
        text = SCHEMA.sub(f"# yaml-language-server: $schema=./{schema.name}", text, count=1)
        beside.write(schema.read_bytes())
    own.write(text)


def _schema(manifest: Path, text: str) -> Path | None:
    """Return the schema that a manifest's comment names for editors, where it is a file here."""
    found = SCHEMA.search(text)
    if not found or "://" in found[1]:
        return None
    schema = (manifest.parent / found[1]).resolve()
    if not schema.is_file():
        schema = shipped_folder("schemas") / schema.name
    return schema if schema.is_file() else None
