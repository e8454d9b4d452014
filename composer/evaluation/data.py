"""Read what is to be evaluated: clips and references, in the conventions that people have."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from composer.core.errors import ComposerError, Place, Problem
from composer.core.suggest import did_you_mean, listed
from composer.formats.audio import Audio, read_audio

AUDIO = ("audio_filepath", "audio_path", "file_name", "audio")
TEXT = ("text", "sentence", "normalized_text", "transcript", "transcription", "answer")
METADATA = ("metadata.jsonl", "metadata.csv")
SUFFIXES = {".wav", ".flac", ".mp3", ".ogg", ".opus", ".aif", ".aiff"}
SLACK = 0.1  # seconds by which a stated length may miss the file's: what rounding leaves
MOST = 16  # problems of lines that are told at once


@dataclass(frozen=True)
class Utterance:
    """A clip and what is said in it.

    `id` is the clip's path as the data names it, `#offset` added where it is a part of a file;
    `offset` and `duration` are in seconds, as stated; `fields` are the line's other texts and
    numbers, and `line` is its number where the data has lines.
    """

    id: str
    path: Path
    reference: str
    offset: float | None = None
    duration: float | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    line: int | None = None

    def audio(self) -> Audio:
        """Read the clip; raise R573 where its length is not what the data states."""
        whole = read_audio(self.path)
        begin = self.offset or 0.0
        seconds = whole.seconds - begin if self.duration is None else self.duration
        end = begin + seconds
        if seconds <= 0 or end > whole.seconds + SLACK:
            raise self.differs(whole, f"the clip is stated at {begin:g} to {end:g} s")
        if round(seconds * whole.rate) == 0:
            raise self.differs(whole, f"{seconds:g} s are stated, which is less than a sample")
        if self.offset is None:
            if abs(seconds - whole.seconds) > SLACK:
                raise self.differs(whole, f"{seconds:g} s are stated")
            return whole
        first = round(begin * whole.rate)
        samples = whole.samples[first : first + round(seconds * whole.rate)]
        return Audio(samples, whole.rate, self.id)

    def differs(self, whole: Audio, stated: str) -> ComposerError:
        """Return the problem of a length that is not the stated one."""
        message = f"the file has {whole.seconds:.2f} s, and {stated}"
        hint = "correct the duration, or the file is another one"
        return ComposerError(Problem("R573", message, Place(str(self.path)), hint=hint))


Read = tuple[list[Utterance], list[Problem]]


def read_data(path: Path, text: str | None = None) -> list[Utterance]:
    """Return the utterances of a file or a folder, in its order.

    A file is JSONL or CSV with a clip and its text a line, paths relative to it. A folder has one
    called metadata.jsonl or metadata.csv, or a text file beside each clip. `text` names the field
    of the reference where there are several. Raise ComposerError with all that is wrong: R580 to
    R584.
    """
    try:
        found, problems = _folder(path, text) if path.is_dir() else _file(path, text)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else f"it is not UTF-8: {error}"
        raise _unread(path, f"the data cannot be read: {why}") from None
    problems += [*_unwritable(path, found), *_repeated(path, found), *_missing(path, found)]
    if problems:
        raise ComposerError(problems)
    if not found:
        raise _unread(path, "there is nothing to evaluate in it")
    return found


def _unread(path: Path, message: str, hint: str | None = None) -> ComposerError:
    return ComposerError(Problem("R580", message, Place(str(path)), hint=hint))


def _folder(folder: Path, text: str | None) -> Read:
    tables = [folder / name for name in METADATA if (folder / name).is_file()]
    if len(tables) > 1:
        raise _unread(folder, f"there are both {' and '.join(METADATA)}", "name the one to read")
    clips = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not tables:
        return _pairs(folder, clips)
    found, problems = _file(tables[0], text)
    named = {each.path.resolve() for each in found}
    stray = [str(p.relative_to(folder)) for p in clips if p.resolve() not in named]
    # A line that cannot be read would make its clip a stray too.
    if stray and not problems:
        message = f"no line of {tables[0].name} is about {listed(stray)}"
        hint = "give every clip its line, or move it out"
        problems.append(Problem("R584", message, Place(str(folder)), hint=hint))
    return found, problems


def _pairs(folder: Path, clips: list[Path]) -> Read:
    """Pair x.wav with x.txt; nothing may be left over."""
    said = {p.with_suffix(""): p for p in sorted(folder.rglob("*.txt")) if p.is_file()}
    if not said or not clips:
        lines = sorted(p.name for p in folder.glob("*.jsonl"))
        hint = (
            "give a JSONL file, a folder with metadata.jsonl, or one with a .txt beside each clip"
        )
        if lines:
            hint = f"name the file: {folder / lines[0]}"
        message = "the folder has no clips with a text each, and no metadata"
        raise _unread(folder, message, hint)
    place, problems = Place(str(folder)), []
    by_stem: dict[Path, list[Path]] = {}
    for clip in clips:
        by_stem.setdefault(clip.with_suffix(""), []).append(clip)
    for several in by_stem.values():
        if len(several) > 1:
            names = listed(p.name for p in several)
            problems.append(Problem("R583", f"several clips have one text: {names}", place))
    lone = [str(p.relative_to(folder)) for s, ps in by_stem.items() if s not in said for p in ps]
    if lone:
        problems.append(Problem("R584", f"no text is beside {listed(lone)}", place))
    lone = [str(p.relative_to(folder)) for stem, p in said.items() if stem not in by_stem]
    if lone:
        problems.append(Problem("R584", f"no clip is beside {listed(lone)}", place))
    found = []
    for stem, (clip, *_) in by_stem.items():
        if stem in said:
            text = said[stem].read_text("utf-8-sig").strip()
            found.append(Utterance(clip.relative_to(folder).as_posix(), clip, text))
    return found, problems


def _file(path: Path, text: str | None) -> Read:
    if not path.is_file():
        why = "it is no file and no folder" if path.exists() else "there is no such file"
        raise _unread(path, f"the data cannot be read: {why}")
    found, problems = [], []
    for number, line in _csv(path) if path.suffix.lower() == ".csv" else _jsonl(path):
        try:
            found.append(replace(_utterance(path.parent, line, text), line=number))
        except _Fault as fault:
            place = Place(str(path), number)
            problems.append(Problem("R581", fault.message, place, hint=fault.hint))
        if len(problems) == MOST:
            break
    return found, problems


class _Fault(Exception):
    """What is wrong with a line, and what to do."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


def _jsonl(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield number, json.loads(line.rstrip("\r\n"), object_pairs_hook=_once)
                except (ValueError, RecursionError) as error:
                    yield number, _Fault(f"the line cannot be read: {error}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name comes twice")
    return dict(pairs)


def _csv(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, strict=True)
        try:
            names = rows.fieldnames or ()
            if len(set(names)) < len(names):
                yield 1, _Fault("a column's name comes twice")
                return
            for row in rows:
                whole = None not in row and None not in row.values()
                wrong = _Fault(f"the first row has {len(names)} columns, and this one has not")
                yield rows.line_num, row if whole else wrong
        except csv.Error as error:
            yield rows.line_num, _Fault(f"the row cannot be read: {error}")


def _utterance(folder: Path, line: Any, text: str | None) -> Utterance:
    if isinstance(line, _Fault):
        raise line
    if not isinstance(line, dict):
        raise _Fault(f"the line is a {type(line).__name__}, not an object")
    audio = _field(line, AUDIO, "clip", "keep one")
    said = _field(line, (text,) if text else TEXT, "reference", "choose one by --text")
    for name in (audio, said):
        if not isinstance(line[name], str):
            raise _Fault(f"'{name}' is {json.dumps(line[name])[:40]}, not text")
    if not line[audio]:
        raise _Fault(f"'{audio}' is empty")
    offset, duration = (_seconds(line, name) for name in ("offset", "duration"))
    rest = {
        key: str(value)
        for key, value in line.items()
        if key not in (audio, said, "offset", "duration") and isinstance(value, str | int | float)
    }
    name = line[audio] if offset is None else f"{line[audio]}#{offset:.12g}"
    return Utterance(name, folder / line[audio], line[said], offset, duration, rest)


def _field(line: Mapping[str, Any], names: tuple[str, ...], what: str, choice: str) -> str:
    there = [name for name in names if name in line]
    if len(there) == 1:
        return there[0]
    if there:
        raise _Fault(f"several fields could be the {what}: {listed(there)}", choice)
    near = did_you_mean(names[0], line) if len(names) == 1 else None
    hint = near or f"it is to be called {listed(names)}"
    raise _Fault(f"no field is the {what}; there are: {listed(line)}", hint)


def _seconds(line: Mapping[str, Any], name: str) -> float | None:
    value = line.get(name)
    if value is None or value == "":
        return None
    try:
        seconds = -1.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise _Fault(f"'{name}' is {json.dumps(value)[:40]}, not a number of seconds")
    return seconds


def _unwritable(path: Path, found: list[Utterance]) -> Iterator[Problem]:
    """Tell of names and texts with halves of characters, which no results could hold."""
    for each in found:
        texts = (each.id, each.reference, *each.fields, *each.fields.values())
        try:
            "".join(texts).encode()
        except UnicodeEncodeError:
            message = f"the name or the text of {each.id!a} is no Unicode"
            yield Problem("R581", message, Place(str(path)))


def _repeated(path: Path, found: list[Utterance]) -> Iterator[Problem]:
    parts = [(_true(each.path), each.offset or 0.0) for each in found]
    counts = Counter(parts)
    twice = [each for each, part in zip(found, parts, strict=True) if counts[part] > 1]
    if twice:
        names = listed(dict.fromkeys(each.id for each in twice))
        message = f"more than one line is about {names}{_lines(twice)}"
        hint = "an utterance counts once: take the others out"
        yield Problem("R583", message, Place(str(path), twice[0].line), hint=hint)


def _true(path: Path) -> str:
    """Return where links lead; a name that no file can have is left as it is."""
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return str(path)


def _missing(path: Path, found: list[Utterance]) -> Iterator[Problem]:
    lost = [each for each in found if not os.path.isfile(each.path)]
    if lost:
        names = listed(str(each.path) for each in lost)
        message = f"{len(lost)} of {len(found)} clips are not there: {names}{_lines(lost)}"
        hint = "paths are relative to the file that names them"
        yield Problem("R582", message, Place(str(path), lost[0].line), hint=hint)


def _lines(told: list[Utterance]) -> str:
    """Say on which lines utterances stand, where there are lines."""
    numbers = [str(each.line) for each in told if each.line is not None]
    return f", lines {listed(numbers)}" if len(numbers) > 1 else ""
