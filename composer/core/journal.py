"""A file of rows that grows by complete lines, so that an interrupted run can resume."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from io import FileIO
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

from pydantic import TypeAdapter, ValidationError

from composer.core.errors import ComposerError, Place, Problem
from composer.core.output import unwritable, write_file
from composer.core.safe_read import RESULTS, read_whole
from composer.core.safe_write import open_regular_file
from composer.core.validation import first_error


class HasId(Protocol):
    """A row, which is a dataclass."""

    @property
    def id(self) -> str: ...


Row = TypeVar("Row", bound=HasId)


@dataclass(frozen=True)
class JournalFormat(Generic[Row]):
    """How the rows of a job are written: a header with what made them, then a line for each.

    `name` is the key of the header's version. Entries that are None are left out of a line, except
    for those `always` written.
    """

    name: str
    version: int
    row: type[Row]
    always: tuple[str, ...] = ()

    @cached_property
    def _adapter(self) -> TypeAdapter[Row]:
        return TypeAdapter(self.row)

    def header(self, made_by: Mapping[str, Any]) -> str:
        """Return the first line."""
        return json.dumps({self.name: self.version, **made_by}, ensure_ascii=False) + "\n"

    def line(self, row: Row) -> str:
        """Return the line of a row."""
        entries = {}
        for key, value in asdict(row).items():  # type: ignore[call-overload]
            if value is not None or key in self.always:
                entries[key] = value
        return json.dumps(entries, ensure_ascii=False) + "\n"

    def read_line(self, line: bytes | str) -> Row:
        """Return the row of a line; raise ValidationError if it is none."""
        return self._adapter.validate_json(line)


@dataclass(frozen=True)
class JournalContent(Generic[Row]):
    """A journal as it was read: its provenance, its rows by id, and the bytes of complete lines."""

    made_by: Mapping[str, Any]
    rows: Mapping[str, Row]
    complete: int


def read_journal(path: Path, format: JournalFormat[Row]) -> JournalContent[Row]:
    """Read a journal except for a truncated last line; raise R571 if it is not one."""
    try:
        data = read_whole(path, RESULTS)
    except OSError as error:
        why = f"cannot be read: {error.strerror}"
        raise ComposerError(Problem("R571", f"the results {why}", Place(str(path)))) from None
    complete = data.rfind(b"\n") + 1
    lines = data[:complete].split(b"\n")[:-1]
    made_by: dict[str, Any] = {}
    if lines:
        made_by = _read_header(path, lines[0], format)
    rows = {}
    for number, line in enumerate(lines[1:], 2):
        try:
            each = format.read_line(line)
        except ValidationError as error:
            message = f"this line is not a result: {first_error(error)}"
            hint = "delete the line, and its clip will be run again"
            problem = Problem("R571", message, Place(str(path), number), hint=hint)
            raise ComposerError(problem) from None
        rows[each.id] = each
    return JournalContent(made_by, rows, complete)


def _read_header(path: Path, line: bytes, format: JournalFormat[Row]) -> dict[str, Any]:
    try:
        header = json.loads(line)
    except (ValueError, RecursionError):
        header = None
    known = isinstance(header, dict) and header.get(format.name) == format.version
    if not known or not isinstance(header.get("bundle"), dict):
        command = f"composer {format.name.replace('evaluation', 'eval')}"
        hint = f"give a file that {command} -o wrote, of version {format.version}"
        message = f"the file is not a result file of {command}"
        raise ComposerError(Problem("R571", message, Place(str(path), 1), hint=hint))
    return {key: value for key, value in header.items() if key != format.name}


class Journal(Generic[Row]):
    """A file of rows that grows by complete lines, each on the disk once it is added."""

    def __init__(self, path: Path, made_by: Mapping[str, Any], format: JournalFormat[Row]) -> None:
        """Open the file exclusively, and read the lines of an earlier run.

        Raise R570 if other settings made it, R576 if another process has it open.
        """
        self.path, self.format = path, format
        self.made_by = json.loads(json.dumps(made_by))
        self.file = _open_locked(path, format.name)
        try:
            found = read_journal(path, format)
            self.rows = dict(found.rows)
            self.is_new = not found.complete
            if not self.is_new:
                require_same_run(path, found.made_by, self.made_by)
            self.file.truncate(found.complete)
            self.file.seek(0, os.SEEK_END)
            if self.is_new:
                self._write(format.header(self.made_by))
        except BaseException:
            self.file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def add(self, each: Row) -> None:
        """Write one line and sync it to disk."""
        self.rows[each.id] = each
        self._write(self.format.line(each))

    def put_in_order(self, order: Sequence[str]) -> None:
        """Rewrite the file with exactly the lines of `order`, as an uninterrupted run would."""
        lines = [self.format.line(self.rows[name]) for name in order]
        text = "".join([self.format.header(self.made_by), *lines]).encode()
        if self.path.read_bytes() == text:
            return
        write_file(self.path, text)

    def _write(self, line: str) -> None:
        before = self.file.tell()
        try:
            data = line.encode()
            while data:
                data = data[self.file.write(data) :]
            os.fsync(self.file.fileno())
        except OSError as error:
            self.file.truncate(before)  # no half of a line stays
            if not before:
                self.path.unlink()
            raise unwritable(self.path, error) from None


def _open_locked(path: Path, what: str) -> FileIO:
    import fcntl

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open_regular_file(path)  # not buffered: closing it has nothing left to write
    except OSError as error:
        raise unwritable(path, error) from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Who held it may just have put another file in its place.
        is_current = os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        is_current = False
    if not is_current:
        file.close()
        message = f"another {what} is writing its results here"
        hint = "wait for it, or use another folder"
        raise ComposerError(Problem("R576", message, Place(str(path)), hint=hint))
    return file


def require_same_run(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise R570 with the settings that differ between a run and the one that left `path`."""
    causes = tuple(_differences(before, now))
    if causes:
        message = "these results were made with other settings and cannot be resumed"
        hint = "use another folder, or delete these"
        raise ComposerError(Problem("R570", message, Place(str(path)), causes=causes, hint=hint))


def _differences(before: Any, now: Any, name: str = "") -> Iterable[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in dict.fromkeys((*before, *now)):
            inside = f"{name}.{key}" if name else key
            yield from _differences(before.get(key), now.get(key), inside)
    elif before != now:
        yield f"{name}: {json.dumps(before)} there, {json.dumps(now)} now"
