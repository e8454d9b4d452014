"""Read evaluation data: clips and references, in the common conventions."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from composer.core.errors import ComposerError, Place, Problem
from composer.core.safe_read import read_whole
from composer.core.suggest import listed
from composer.evaluation.tables import Read, read_table, unreadable
from composer.evaluation.utterance import Utterance
from composer.formats.audio.suffixes import is_clip

TEXT = 2**24  # bytes of a text beside a clip
METADATA = ("metadata.jsonl", "metadata.csv")


def read_data(path: Path, text: str | None = None) -> list[Utterance]:
    """Return the utterances of a file or a folder, in its order.

    A file is JSONL or CSV with a clip and its text per line, paths relative to it. A folder has one
    called metadata.jsonl or metadata.csv, or a text file beside each clip. `text` names the field
    of the reference if there are several. Raise ComposerError with all problems: R580 to
    R584.
    """
    read = _folder if path.is_dir() else read_table
    try:
        found, problems = read(path, text)
    except OSError as error:
        raise unreadable(path, f"the data cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise unreadable(path, f"the data cannot be read: it is not UTF-8: {error}") from None
    problems += [
        *_check_unicode(path, found),
        *_check_duplicates(path, found),
        *_check_files(path, found),
    ]
    if problems:
        raise ComposerError(problems)
    if not found:
        raise unreadable(path, "it has no utterances")
    return found


def _folder(folder: Path, text: str | None) -> Read:
    tables = [folder / name for name in METADATA if (folder / name).is_file()]
    if len(tables) > 1:
        raise unreadable(folder, f"there are both {' and '.join(METADATA)}", "give the one to read")
    clips = sorted(filter(is_clip, folder.rglob("*")))
    if not tables:
        return _pairs(folder, clips)
    found, problems = read_table(tables[0], text)
    named = {each.path.resolve() for each in found}
    unlisted = [str(p.relative_to(folder)) for p in clips if p.resolve() not in named]
    # A line that cannot be read would make its clip a stray too.
    if unlisted and not problems:
        message = f"{tables[0].name} has no line for {listed(unlisted)}"
        hint = "add a line for each clip, or move the clip out"
        problems.append(Problem("R584", message, Place(str(folder)), hint=hint))
    return found, problems


def _pairs(folder: Path, clips: list[Path]) -> Read:
    """Pair x.wav with x.txt; every file must have its partner."""
    texts = {p.with_suffix(""): p for p in sorted(folder.rglob("*.txt")) if p.is_file()}
    if not texts or not clips:
        lines = sorted(p.name for p in folder.glob("*.jsonl"))
        hint = (
            "give a JSONL file, a folder with metadata.jsonl, or one with a .txt beside each clip"
        )
        if lines:
            hint = f"name the file: {folder / lines[0]}"
        message = "the folder has no clips with a text each, and no metadata"
        raise unreadable(folder, message, hint)
    place, problems = Place(str(folder)), []
    by_stem: dict[Path, list[Path]] = {}
    for clip in clips:
        by_stem.setdefault(clip.with_suffix(""), []).append(clip)
    for several in by_stem.values():
        if len(several) > 1:
            names = listed(p.name for p in several)
            problems.append(Problem("R583", f"several clips share one text: {names}", place))
    found, unpaired = [], []
    for stem, (clip, *others) in by_stem.items():
        if stem in texts:
            text = read_whole(texts[stem], TEXT).decode("utf-8-sig").strip()
            found.append(Utterance(clip.relative_to(folder).as_posix(), clip, text))
        else:
            unpaired += [clip, *others]
    problems += _unpaired(folder, "text file", sorted(unpaired))
    problems += _unpaired(folder, "clip", [texts[stem] for stem in texts if stem not in by_stem])
    return found, problems


def _unpaired(folder: Path, missing: str, paths: list[Path]) -> list[Problem]:
    if not paths:
        return []
    names = listed(str(path.relative_to(folder)) for path in paths)
    return [Problem("R584", f"there is no {missing} for {names}", Place(str(folder)))]


def _check_unicode(path: Path, found: list[Utterance]) -> Iterator[Problem]:
    """Yield problems for names and texts with lone surrogates, which cannot be written."""
    for each in found:
        texts = (each.id, each.reference, *each.fields, *each.fields.values())
        try:
            "".join(texts).encode()
        except UnicodeEncodeError:
            message = f"the name or the text of {each.id!a} is not valid Unicode"
            yield Problem("R581", message, Place(str(path)))


def _check_duplicates(path: Path, found: list[Utterance]) -> Iterator[Problem]:
    parts = [(_file_of(each.path), each.offset or 0.0) for each in found]
    counts = Counter(parts)
    twice = [each for each, part in zip(found, parts, strict=True) if counts[part] > 1]
    if twice:
        names = listed(dict.fromkeys(each.id for each in twice))
        message = f"more than one line is for {names}{_lines(twice)}"
        hint = "an utterance counts once: remove the other lines"
        if len({os.path.realpath(each.path) for each in twice}) > 1:
            hint = "several names are one file, by links: an utterance counts once"
        yield Problem("R583", message, Place(str(path), twice[0].line), hint=hint)


def _file_of(path: Path) -> object:
    """Return what is the same for all names of a file; the name of what is not there."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return str(path)
    return found.st_dev, found.st_ino


def _check_files(path: Path, found: list[Utterance]) -> Iterator[Problem]:
    missing = [each for each in found if not os.path.isfile(each.path)]
    if missing:
        names = listed(str(each.path) for each in missing)
        message = f"{len(missing)} of {len(found)} clips do not exist: {names}{_lines(missing)}"
        hint = "paths are relative to the file that names them"
        yield Problem("R582", message, Place(str(path), missing[0].line), hint=hint)


def _lines(shown: list[Utterance]) -> str:
    """List the line numbers of utterances, if any."""
    numbers = [str(each.line) for each in shown if each.line is not None]
    if len(numbers) < 2:
        return ""
    return f", lines {listed(numbers)}"
