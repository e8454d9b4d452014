"""Read which clips a corpus has: manifests, folders, patterns, clips and Parquet files."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from composer.core.errors import ComposerError, Problem
from composer.core.file_patterns import is_pattern, matching
from composer.core.suggest import listed
from composer.corpus.clip import ID, CorpusClip, clip_of
from composer.corpus.parquet import PARQUET, read_parquet
from composer.evaluation.tables import read_table, unreadable
from composer.formats.audio.suffixes import SUFFIXES, is_clip

TABLES = (".jsonl", ".csv")


def read_corpus(data: Sequence[str | Path]) -> list[CorpusClip]:
    """Return the clips of files, folders and patterns such as `clips/*.flac`, in their order.

    A manifest is JSONL or CSV as `composer eval` reads it, without need of a text; a clip in it or
    in a Parquet file is called by its `id`, or else by its path, a clip of a folder by its path in
    the folder. Clips that do not exist are clips: they fail when they are run.

    Raise ComposerError with all problems: R580, R581 for lines that cannot be used, R583 for an id
    that occurs twice, R585 for Parquet without pyarrow.
    """
    found: list[CorpusClip] = []
    problems: list[Problem] = []
    for path in _expanded(data):
        try:
            clips, faults = _read(path)
        except OSError as error:
            raise unreadable(path, f"the data cannot be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            message = f"the data cannot be read: it is not UTF-8: {error}"
            raise unreadable(path, message) from None
        found += clips
        problems += faults
    problems += _not_unicode(found)
    problems += _duplicates(found)
    if problems:
        raise ComposerError(problems)
    return found


def digest_of(clips: Sequence[CorpusClip]) -> str:
    """Return the digest of which clips a corpus has, and in which order; of no audio."""
    digest = hashlib.sha256()
    for clip in clips:
        line = [clip.id, clip.part.offset, clip.part.duration]
        digest.update(json.dumps(line).encode() + b"\n")
    return digest.hexdigest()


def _expanded(data: Sequence[str | Path]) -> Iterator[Path]:
    """Yield what is named, and what patterns match; raise R580 where one matches nothing."""
    for each in data:
        if not is_pattern(str(each)):
            yield Path(each)
            continue
        matches = matching(str(each))
        if not matches:
            raise unreadable(Path(each), "the data cannot be read: no file matches the pattern")
        yield from map(Path, matches)


def _read(path: Path) -> tuple[list[CorpusClip], list[Problem]]:
    suffix = path.suffix.lower()
    if path.is_dir():
        return _folder(path), []
    if suffix == PARQUET:
        return read_parquet(path)
    if suffix in TABLES:
        utterances, problems = read_table(path, None, needs_text=False)
        return list(map(clip_of, utterances)), problems
    if suffix in SUFFIXES:
        return [CorpusClip(str(path), path)], []
    found = "it is neither a file nor a folder" if path.exists() else "the file does not exist"
    if path.is_file():
        found = f"it ends in '{suffix}'"
    hint = f"give a folder, a clip, or a file that ends in {', '.join((*TABLES, PARQUET))}"
    raise unreadable(path, f"the data cannot be read: {found}", hint)


def _folder(folder: Path) -> list[CorpusClip]:
    clips = []
    for path in sorted(filter(is_clip, folder.rglob("*"))):
        clips.append(CorpusClip(path.relative_to(folder).as_posix(), path))
    if not clips:
        hint = f"clips end in {', '.join(sorted(SUFFIXES))}; name a manifest or a Parquet file"
        raise unreadable(folder, "no clip is in the folder", hint)
    return clips


def _not_unicode(clips: Sequence[CorpusClip]) -> Iterator[Problem]:
    """Yield a problem for names with lone surrogates, which cannot be written."""
    for clip in clips:
        try:
            clip.id.encode()
        except UnicodeEncodeError:
            yield Problem("R581", f"the name of {clip.id!a} is not valid Unicode")


def _duplicates(clips: Sequence[CorpusClip]) -> Iterator[Problem]:
    counts = Counter(clip.id for clip in clips)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        hint = f"give each clip an '{ID}', or name each file once"
        yield Problem("R583", f"more than one clip is called {listed(twice)}", hint=hint)
