"""Keep what was heard, a line an utterance, so that a run that was killed goes on where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

from pydantic import ConfigDict, TypeAdapter, ValidationError

from composer.core.errors import ComposerError, Place, Problem
from composer.core.output import unwritable

VERSION = 1


@dataclass(frozen=True)
class Transcript:
    """What one clip gave: a hypothesis as the bundle gave it, or the problems it failed with.

    `sha256` is that of the clip's file, `seconds` its length; `finish_reason` and `tokens` are the
    decoder's.
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

    def __post_init__(self) -> None:
        if (self.hypothesis is None) == (self.error is None):
            raise ValueError("there is to be either a hypothesis or an error")


_LINE = TypeAdapter(Transcript)


@dataclass(frozen=True)
class Results:
    """A file of what was heard: what made it, its lines by id, and how many bytes are whole."""

    made_by: Mapping[str, Any]
    heard: Mapping[str, Transcript]
    whole: int


def read_results(path: Path) -> Results:
    """Read a file of results but for a last line that was cut off; raise R571 if it is none."""
    try:
        data = path.read_bytes()
    except OSError as error:
        why = f"cannot be read: {error.strerror}"
        raise ComposerError(Problem("R571", f"the results {why}", Place(str(path)))) from None
    whole = data.rfind(b"\n") + 1
    lines = data[:whole].split(b"\n")[:-1]
    made_by = _header(path, lines[0]) if lines else {}
    heard = {}
    for number, line in enumerate(lines[1:], 2):
        try:
            each = _LINE.validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            what = " ".join(map(str, (*first["loc"], first["msg"])))
            place = Place(str(path), number)
            hint = "delete the line, and its clip is run again"
            raise ComposerError(
                Problem("R571", f"this is no result: {what}", place, hint=hint)
            ) from None
        heard[each.id] = each
    return Results(made_by, heard, whole)


def _header(path: Path, line: bytes) -> dict[str, Any]:
    try:
        header = json.loads(line)
    except (ValueError, RecursionError):
        header = None
    known = isinstance(header, dict) and header.get("evaluation") == VERSION
    if not known or not isinstance(header.get("bundle"), dict):
        hint = f"name a file that composer eval -o wrote; this composer writes version {VERSION}"
        place = Place(str(path), 1)
        raise ComposerError(
            Problem("R571", "the file is no results of composer eval", place, hint=hint)
        )
    return {key: value for key, value in header.items() if key != "evaluation"}


class Journal:
    """A file of results that grows by whole lines, and is in the data's order at the end."""

    def __init__(self, path: Path, made_by: Mapping[str, Any]) -> None:
        """Open the file for this process alone, and take up what another one left.

        Raise R570 where something else made it, R576 where another process has it open.
        """
        self.path = path
        self.made_by = json.loads(json.dumps(made_by))
        self.file = _locked(path)
        try:
            results = read_results(path)
            self.heard = dict(results.heard)
            self.fresh = not results.whole
            if not self.fresh:
                _hold(path, results.made_by, self.made_by)
            self.file.truncate(results.whole)
            self.file.seek(0, os.SEEK_END)
            if self.fresh:
                self._write(_header_line(self.made_by))
        except BaseException:
            self.file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def add(self, each: Transcript) -> None:
        """Write one line, down to the disk."""
        self.heard[each.id] = each
        self._write(_line(each))

    def settle(self, order: Sequence[str]) -> None:
        """Leave one line for each of `order` and no other, as a run that nothing stopped does."""
        lines = [_header_line(self.made_by), *(_line(self.heard[name]) for name in order)]
        text = "".join(lines).encode()
        if self.path.read_bytes() == text:
            return
        fresh = self.path.with_name(f"{self.path.name}.new")
        try:
            with fresh.open("wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, self.path)
        except OSError as error:
            raise unwritable(self.path, error) from None

    def _write(self, line: str) -> None:
        try:
            self.file.write(line.encode())
            self.file.flush()
            os.fsync(self.file.fileno())
        except OSError as error:
            raise unwritable(self.path, error) from None


def _locked(path: Path) -> BinaryIO:
    import fcntl

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        file = path.open("r+b")
    except OSError as error:
        raise unwritable(path, error) from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Who held it may just have put another file in its place.
        alone = os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        alone = False
    if not alone:
        file.close()
        hint = "wait for it, or take another folder"
        raise ComposerError(
            Problem(
                "R576", "another evaluation writes its results here", Place(str(path)), hint=hint
            )
        )
    return file


def _hold(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise R570 with what differs, both ways of it."""
    causes = tuple(_differences(before, now))
    if causes:
        message = "the results here were made otherwise, and cannot be gone on with"
        hint = "take another folder, or delete these"
        raise ComposerError(Problem("R570", message, Place(str(path)), causes=causes, hint=hint))


def _differences(before: Any, now: Any, name: str = "") -> Iterable[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in dict.fromkeys((*before, *now)):
            yield from _differences(before.get(key), now.get(key), f"{name}.{key}" if name else key)
    elif before != now:
        yield f"{name}: {json.dumps(before)} there, {json.dumps(now)} now"


def _header_line(made_by: Mapping[str, Any]) -> str:
    return json.dumps({"evaluation": VERSION, **made_by}, ensure_ascii=False) + "\n"


def _line(each: Transcript) -> str:
    held = {key: value for key, value in asdict(each).items() if value is not None}
    for key in ("sha256", "seconds"):
        held.setdefault(key, None)
    ordered = {key: held[key] for key in asdict(each) if key in held}
    return json.dumps(ordered, ensure_ascii=False) + "\n"
