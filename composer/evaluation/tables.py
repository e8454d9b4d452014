"""Read utterances from a JSONL or CSV file, a line each."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from composer.core.errors import ComposerError, Place, Problem
from composer.core.safe_read import RESULTS
from composer.core.suggest import did_you_mean, listed
from composer.evaluation.utterance import Utterance

AUDIO = ("audio_filepath", "audio_path", "file_name", "audio")
TEXT = ("text", "sentence", "normalized_text", "transcript", "transcription", "answer")
MOST = 16  # problems of lines in one report

Read = tuple[list[Utterance], list[Problem]]


def unreadable(path: Path, message: str, hint: str | None = None) -> ComposerError:
    """Return the error for data that cannot be read."""
    return ComposerError(Problem("R580", message, Place(str(path)), hint=hint))


def read_table(path: Path, text: str | None, needs_text: bool = True) -> Read:
    """Return the utterances of a file and the problems of its lines.

    Without `needs_text` no reference is looked for, and it is empty.
    """
    if not path.is_file():
        why = "it is neither a file nor a folder" if path.exists() else "the file does not exist"
        raise unreadable(path, f"the data cannot be read: {why}")
    if path.stat().st_size > RESULTS:
        raise unreadable(path, f"the data has more than {RESULTS} bytes")
    lines = _csv(path) if path.suffix.lower() == ".csv" else _jsonl(path)
    return read_lines(path, lines, text, needs_text)


def read_lines(
    path: Path, lines: Iterable[tuple[int, Any]], text: str | None, needs_text: bool
) -> Read:
    """Return the utterances of numbered lines of a file and the problems of these."""
    found, problems = [], []
    for number, line in lines:
        try:
            found.append(replace(_utterance(path.parent, line, text, needs_text), line=number))
        except _Fault as fault:
            place = Place(str(path), number)
            problems.append(Problem("R581", fault.message, place, hint=fault.hint))
        if len(problems) == MOST:
            break
    return found, problems


class _Fault(Exception):
    """A problem of one line, with a hint."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


def _jsonl(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield number, json.loads(line.rstrip("\r\n"), object_pairs_hook=_unique_keys)
                except (ValueError, RecursionError) as error:
                    yield number, _Fault(f"the line cannot be read: {error}")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key occurs twice")
    return dict(pairs)


def _csv(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, strict=True)
        try:
            names = rows.fieldnames or ()
            if len(set(names)) < len(names):
                yield 1, _Fault("a column's name occurs twice")
                return
            wrong = _Fault(f"the first row has {len(names)} columns, but this one does not")
            for row in rows:
                is_complete = None not in row and None not in row.values()
                yield rows.line_num, row if is_complete else wrong
        except csv.Error as error:
            yield rows.line_num, _Fault(f"the row cannot be read: {error}")


def _utterance(folder: Path, line: Any, text: str | None, needs_text: bool) -> Utterance:
    if isinstance(line, _Fault):
        raise line
    if not isinstance(line, dict):
        raise _Fault(f"the line is a {type(line).__name__}, not an object")
    audio_field = _field(line, AUDIO, "clip", "keep one")
    used = [audio_field]
    if needs_text:
        texts = (text,) if text else TEXT
        used.append(_field(line, texts, "reference", "choose one by --text"))
    for name in used:
        if not isinstance(line[name], str):
            raise _Fault(f"'{name}' is {json.dumps(line[name])[:40]}, not text")
    if not line[audio_field]:
        raise _Fault(f"'{audio_field}' is empty")
    offset, duration = _seconds(line, "offset"), _seconds(line, "duration")
    rest = {}
    for key, value in line.items():
        if key in (*used, "offset", "duration"):
            continue
        if isinstance(value, str | int | float):
            rest[key] = str(value)
    name = line[audio_field].replace("%", "%25").replace("#", "%23")
    if offset is not None:
        name += f"#{_exact(offset)}"
        if duration is not None:
            name += f"+{_exact(duration)}"
    reference = line[used[-1]] if needs_text else ""
    return Utterance(name, folder / line[audio_field], reference, offset, duration, rest)


def _exact(seconds: float) -> str:
    """Write a number so that no other one is written alike."""
    return repr(seconds).removesuffix(".0")


def _field(line: Mapping[str, Any], names: tuple[str, ...], what: str, choice: str) -> str:
    present = [name for name in names if name in line]
    if len(present) == 1:
        return present[0]
    if present:
        raise _Fault(f"several fields could be the {what}: {listed(present)}", choice)
    hint = f"it must be called {listed(names)}"
    if len(names) == 1:
        hint = did_you_mean(names[0], line) or hint
    raise _Fault(f"no field is the {what}; there are: {listed(line)}", hint)


def _seconds(line: Mapping[str, Any], name: str) -> float | None:
    value = line.get(name)
    if value is None or value == "":
        return None
    seconds = -1.0
    if not isinstance(value, bool):
        with suppress(TypeError, ValueError, OverflowError):
            seconds = float(value)
    if not 0 <= seconds < float("inf"):
        raise _Fault(f"'{name}' is {json.dumps(value)[:40]}, not a number of seconds")
    return seconds
