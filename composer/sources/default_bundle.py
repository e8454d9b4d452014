"""The bundle that a user has chosen for clips without one, kept in a file of their settings."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from composer.core.errors import ComposerError, Place, Problem
from composer.core.output import unwritable, write_file
from composer.manifest.source import read_document_file

FILE = Path("composer", "settings.json")


class Settings(BaseModel):
    """What the file says; it has no other keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    bundle: str


def settings_file() -> Path:
    """Return the file's place: in XDG_CONFIG_HOME where that is an absolute path, else ~/.config.

    Raise ComposerError R578 where this user has no home.
    """
    folder = os.environ.get("XDG_CONFIG_HOME", "")
    if os.path.isabs(folder):  # the specification has others ignored
        return Path(folder) / FILE
    try:
        return Path.home() / ".config" / FILE
    except RuntimeError:
        hint = "set HOME, or XDG_CONFIG_HOME to a folder"
        message = "there is no folder for settings: this user has no home"
        raise ComposerError(Problem("R578", message, hint=hint)) from None


def default_bundle() -> str | None:
    """Return the bundle that was chosen, None where none was; raise R578 for a damaged file."""
    path = settings_file()
    if not os.path.lexists(path):
        return None
    try:
        return Settings.model_validate(read_document_file(path).data).bundle
    except ComposerError as error:
        why = error.problems[0].message
    except ValidationError:
        why = 'it holds {"bundle": NAME} and nothing else'
    hint = "choose again: composer use NAME, or remove the file"
    message = f"these settings cannot be read: {why}"
    raise ComposerError(Problem("R578", message, Place(str(path)), hint=hint)) from None


def choose_default_bundle(name: str) -> Path:
    """Write a bundle's name to the file, and return its place; raise R507 where that fails."""
    path = settings_file()
    _make_folder(path.parent)
    write_file(path, Settings(bundle=name).model_dump_json() + "\n")
    return path


def forget_default_bundle() -> None:
    """Remove the file; raise R507 where that cannot be done."""
    path = settings_file()
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from None


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from None
