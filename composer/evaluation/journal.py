"""Save transcripts, a line per utterance, so that an interrupted run can resume."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import Any, Self

from pydantic import ConfigDict, TypeAdapter, ValidationError

from composer.core.errors import ComposerError, Place, Problem
from composer.core.output import unwritable, write_file
from composer.core.safe_read import RESULTS, read_whole
from composer.core.safe_write import open_regular_file
from composer.core.validation import first_error

VERSION = 1
ALWAYS_WRITTEN = ("sha256", "seconds")  # of a line, also where they are not known


@dataclass(frozen=True)
class Transcript:
    """The result for one clip: the bundle's hypothesis, or the problems it failed with.

    `sha256` is that of the clip's file, `seconds` its length; `finish_reason` and `tokens` are the
    decoder's. `notes` say how far a recording that was cut short was read, and which channel.
    """

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    id: str
    sha256: str | None
    seconds: float | None
    reference: str
    hypothesis: str | None = None
    finish_reason: str | None = None
    tokens: int | None = None
    error: list[dict[str, Any]] | None = None
    notes: list[str] | None = None

    def __post_init__(self) -> None:
        if (self.hypothesis is None) == (self.error is None):
            raise ValueError("there is to be either a hypothesis or an error")


_LINE = TypeAdapter(Transcript)


@dataclass(frozen=True)
class ResultsFile:
    """A file of transcripts: its provenance, its lines by id, and the bytes of complete lines."""

    made_by: Mapping[str, Any]
    transcripts: Mapping[str, Transcript]
    complete: int


def read_results(path: Path) -> ResultsFile:
    """Read a file of results except for a truncated last line; raise R571 if it is not one."""
    try:
        data = read_whole(path, RESULTS)
    except OSError as error:
        why = f"cannot be read: {error.strerror}"
        raise ComposerError(Problem("R571", f"the results {why}", Place(str(path)))) from None
    complete = data.rfind(b"\n") + 1
    lines = data[:complete].split(b"\n")[:-1]
    made_by: dict[str, Any] = {}
    if lines:
        made_by = _header(path, lines[0])
    transcripts = {}
    for number, line in enumerate(lines[1:], 2):
        try:
            each = _LINE.validate_json(line)
        except ValidationError as error:
            message = f"this line is not a result: {first_error(error)}"
            hint = "delete the line, and its clip will be run again"
            problem = Problem("R571", message, Place(str(path), number), hint=hint)
            raise ComposerError(problem) from None
        transcripts[each.id] = each
    return ResultsFile(made_by, transcripts, complete)


def _header(path: Path, line: bytes) -> dict[str, Any]:
    try:
        header = json.loads(line)
    except (ValueError, RecursionError):
        header = None
    known = isinstance(header, dict) and header.get("evaluation") == VERSION
    if not known or not isinstance(header.get("bundle"), dict):
        hint = f"give a file that composer eval -o wrote, of version {VERSION}"
        place = Place(str(path), 1)
        raise ComposerError(
            Problem("R571", "the file is not a result file of composer eval", place, hint=hint)
        )
    return {key: value for key, value in header.items() if key != "evaluation"}


class Journal:
    """A file of results that grows by complete lines, and is in the data's order at the end."""

    def __init__(self, path: Path, made_by: Mapping[str, Any]) -> None:
        """Open the file exclusively, and read the lines of an earlier run.

        Raise R570 if other settings made it, R576 if another process has it open.
        """
        self.path = path
        self.made_by = json.loads(json.dumps(made_by))
        self.file = _open_locked(path)
        try:
            results = read_results(path)
            self.transcripts = dict(results.transcripts)
            self.is_new = not results.complete
            if not self.is_new:
                require_same_run(path, results.made_by, self.made_by)
            self.file.truncate(results.complete)
            self.file.seek(0, os.SEEK_END)
            if self.is_new:
                self._write(_header_line(self.made_by))
        except BaseException:
            self.file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def add(self, each: Transcript) -> None:
        """Write one line and sync it to disk."""
        self.transcripts[each.id] = each
        self._write(_line(each))

    def put_in_order(self, order: Sequence[str]) -> None:
        """Rewrite the file with exactly the lines of `order`, as an uninterrupted run would."""
        lines = [_header_line(self.made_by), *(_line(self.transcripts[name]) for name in order)]
        text = "".join(lines).encode()
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


def _open_locked(path: Path) -> FileIO:
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
        hint = "wait for it, or use another folder"
        raise ComposerError(
            Problem(
                "R576",
                "another evaluation is writing its results here",
                Place(str(path)),
                hint=hint,
            )
        )
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


def _header_line(made_by: Mapping[str, Any]) -> str:
    return json.dumps({"evaluation": VERSION, **made_by}, ensure_ascii=False) + "\n"


def _line(each: Transcript) -> str:
    entries = {}
    for key, value in asdict(each).items():
        if value is not None or key in ALWAYS_WRITTEN:
            entries[key] = value
    return json.dumps(entries, ensure_ascii=False) + "\n"
