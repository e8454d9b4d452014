"""Write a folder whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from composer.core.errors import ComposerError, Place, Problem
from composer.core.output import unwritable


def require_new(folder: Path, force: bool) -> None:
    """Raise R507 where something is there that would be replaced."""
    there = os.path.lexists(folder)
    if there and not (folder.is_dir() and not folder.is_symlink()):
        raise ComposerError(Problem("R507", "it is no folder", Place(str(folder))))
    if there and any(folder.iterdir()) and not force:
        hint = "choose another name, or replace it by --force (force=True in Python)"
        message = "there is a folder already"
        raise ComposerError(Problem("R507", message, Place(str(folder)), hint=hint))


def require_room(folder: Path, nbytes: int) -> None:
    """Raise R507 where a folder to come would not fit on its disk."""
    parent = next(each for each in folder.absolute().parents if each.exists())
    free = shutil.disk_usage(parent).free
    if nbytes > free:
        message = f"it takes {nbytes / 1e9:.3g} GB, and {free / 1e9:.3g} GB are free"
        raise ComposerError(Problem("R507", message, Place(str(folder))))


@contextmanager
def new_folder(folder: Path, force: bool = False) -> Iterator[Path]:
    """Yield a folder beside the one that is wanted, and move it there at the end.

    Of an error nothing stays. Raise R507 where it cannot be written, as on a full disk, or where
    one is there and there is no `force`.
    """
    require_new(folder, force)
    part = folder.with_name(f".{folder.name[:100]}.{os.urandom(4).hex()}.part")
    try:
        part.mkdir(parents=True)
        yield part
        _move(part, folder, force)
    except OSError as error:
        raise unwritable(folder, error) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _move(part: Path, folder: Path, force: bool) -> None:
    """Move a folder to its place, also where another process does the same just now."""
    old = part.with_suffix(".old")
    try:
        while True:
            require_new(folder, force)
            if folder.exists():
                folder.rename(old)
            try:
                part.rename(folder)
                return
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                shutil.rmtree(old, ignore_errors=True)  # another one has come to be there
    finally:
        shutil.rmtree(old, ignore_errors=True)
