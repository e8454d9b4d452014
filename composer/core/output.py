"""Write the files that a user asked for, whole or not at all; what cannot be written is R507."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from composer.core.errors import ComposerError, Place, Problem
from composer.core.safe_read import RESULTS, read_whole
from composer.core.safe_write import append_to, check_target, is_regular_or_absent, write_whole


def write_file(path: Path, data: str | bytes, sync: bool = False, new: bool = False) -> None:
    """Write a whole file, with `sync` to the disk; raise R507 where that cannot be done.

    That is also where a `new` one is there already.
    """
    try:
        if isinstance(data, str):
            data = _encoded(data)
        write_whole(path, data, sync, new)
    except OSError as error:
        if isinstance(error, FileExistsError):
            refuse_existing(path, force=False)
        raise unwritable(path, error) from None


def refuse_existing(path: Path, force: bool) -> None:
    """Raise R507 where a file, which may be the only one of its kind, would be replaced.

    A link or a folder cannot be replaced, with `force` neither.
    """
    try:
        would_replace = is_regular_or_absent(path) and path.exists()
    except OSError as error:
        raise unwritable(path, error) from None
    if would_replace and not force:
        hint = "choose another name, or replace it by --force (force=True in Python)"
        raise ComposerError(Problem("R507", "there is a file already", Place(str(path)), hint=hint))


class OutputFile:
    """A file that is asked for by name, and written once the work for it is done.

    Raise R507 before the work where a file would be replaced, unless there is `force` or
    `is_own` says of its bytes that they may be, and where it cannot be written.
    """

    def __init__(
        self, path: Path, force: bool = False, is_own: Callable[[bytes], bool] | None = None
    ) -> None:
        self.path, self.force, self.is_own = path, force, is_own
        self._require_free()
        try:
            check_target(path)
        except OSError as error:
            raise unwritable(path, error) from None

    def write(self, data: str | bytes) -> None:
        """Write the whole file; raise R507 for one that has come to be there meanwhile."""
        self._require_free()
        write_file(self.path, data, new=not self.force and not self.path.exists())

    def _require_free(self) -> None:
        may_replace = self.force
        try:
            if self.is_own and not self.path.is_symlink() and self.path.is_file():
                may_replace = may_replace or self.is_own(read_whole(self.path, RESULTS))
        except OSError as error:
            raise unwritable(self.path, error) from None
        refuse_existing(self.path, may_replace)


@contextmanager
def hold_folder_lock(folder: Path) -> Iterator[None]:
    """Make a folder and hold it for this process; raise R507 where another one writes to it."""
    import fcntl

    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise unwritable(folder, error) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        message, hint = "another process is writing here", "wait for it, or take another folder"
        raise ComposerError(Problem("R507", message, Place(str(folder)), hint=hint)) from None
    try:
        yield
    finally:
        os.close(descriptor)


def append_text(path: Path, text: str) -> None:
    """Write at the end of a file; raise R507 where that cannot be done."""
    try:
        append_to(path, _encoded(text))
    except OSError as error:
        raise unwritable(path, error) from None


def require_writable(path: Path) -> None:
    """Raise R507 where a file cannot be written; leave what is there, and no empty file."""
    new = not os.path.lexists(path)
    append_text(path, "")
    if new:
        path.unlink()


def unwritable(path: Path, error: OSError) -> ComposerError:
    """Return the problem of a file or folder that cannot be written."""
    reason = error.strerror or str(error)
    return ComposerError(Problem("R507", f"cannot write: {reason}", Place(str(path))))


def json_text(value: Any, indent: int | None = 2) -> str:
    """Return JSON; a number that JSON lacks becomes null."""
    return json.dumps(_finite(value), indent=indent, ensure_ascii=False, allow_nan=False)


def problem_json(problem: Problem) -> dict[str, Any]:
    """Return a problem as JSON holds it."""
    place = problem.place or Place("")
    return {
        "code": problem.code,
        "severity": problem.severity,
        "message": problem.message,
        "file": place.file or None,
        "line": place.line,
        "column": place.column,
        "causes": list(problem.causes),
        "hint": problem.hint,
    }


def plain_values(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return outputs in JSON's types: arrays as lists, audio as its rate and samples."""
    return {name: _plain(value) for name, value in outputs.items()}


def _plain(value: Any) -> Any:
    if hasattr(value, "samples"):
        return {"rate": value.rate, "samples": value.samples.tolist()}
    if hasattr(value, "tolist"):
        return value.tolist()
    return value


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
