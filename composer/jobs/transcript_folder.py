"""Write transcripts to the files of a folder as they come."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from composer.core.errors import ComposerError, Place, Problem
from composer.core.output import (
    append_text,
    refuse_existing,
    require_writable,
    unwritable,
    write_file,
)
from composer.core.safe_read import RESULTS, read_whole
from composer.formats.audio.digest import source_digest
from composer.formats.audio.reading import Source
from composer.jobs.finished_clips import FinishedClip, FinishedClips, text_digest
from composer.jobs.output_format import OutputFormat
from composer.jobs.transcription import Transcription, clip_name

REPLACED = "its audio is not that of the earlier transcript, and it was transcribed again"


@dataclass
class TranscriptFolder:
    """The files of a folder that transcripts are written to in a format.

    With `resume`, transcripts of the same audio by the same settings stay; with `force` what is
    there is replaced.
    """

    folder: Path
    format: OutputFormat
    force: bool = False
    resume: bool = False
    _replaced: set[str] = field(default_factory=set)  # clips whose audio is another by now
    _kept: dict[str, str] = field(default_factory=dict)  # lines of an earlier run, by digest

    @property
    def lines(self) -> Path | None:
        """Return the one file that all clips are written to, a line each."""
        return None if self.format.file else self.folder / f"transcripts.{self.format.name}"

    def path(self, name: str) -> Path:
        """Return the file of a clip."""
        stem = "stdin" if name == "-" else Path(name).stem
        return self.folder / f"{stem}.{self.format.name}"

    def require_distinct(self, clips: Sequence[Source]) -> None:
        """Raise R542 for two clips that would be written to one file."""
        if self.lines:
            return
        seen: dict[str, str] = {}
        for name in map(clip_name, clips):
            # File systems of macOS and Windows take A.txt and a.txt for one file.
            file = self.path(name).name.casefold()
            if file in seen:
                raise self._shared(seen[file], name)
            seen[file] = name

    def refuse_existing(self, clips: Sequence[Source]) -> None:
        """Raise R507 for what would replace a file that is there, or cannot be written."""
        if self.resume and self.force:
            message = "--resume goes on in a folder: give -o, and no --force"
            raise ComposerError(Problem("R542", message))
        files = [self.lines] if self.lines else [self.path(clip_name(clip)) for clip in clips]
        if not self.resume:
            for file in files:
                refuse_existing(file, self.force)
        if self.lines:
            require_writable(self.lines)

    def open(self, clips: Sequence[Source], made_by: Mapping[str, Any]) -> list[Source]:
        """Return the clips to run, by a run that `made_by` describes.

        Raise R507 for a transcript that no run wrote, R542 for one of another clip, R570 for one
        that was made with other settings, R571 where the memory of earlier runs is damaged.
        """
        self._finished = FinishedClips(self.folder / f".run.{self.format.name}.jsonl", made_by)
        if not self.resume:
            return list(clips)
        if self.lines:
            self._read_lines(self.lines)
        return [clip for clip in clips if not self._is_finished(clip)]

    def begin(self) -> None:
        """Begin the file of lines; it is called once the bundle has loaded.

        A new one comes with its first line, so that a full disk leaves no empty file.
        """
        if self.lines and (self._kept or os.path.lexists(self.lines)):
            write_file(self.lines, "".join(f"{line}\n" for line in self._kept.values()))

    def add(self, each: Transcription, sha256: str | None) -> Transcription:
        """Write one clip's transcript, or its problems, and return it as it is written.

        `sha256` is the digest of its audio.
        """
        if each.name in self._replaced:
            each = replace(each, notes=(*each.notes, REPLACED))
        write = self.format.file or self.format.line
        text = write(each) if write else None
        if text is None:
            return each
        path = self.path(each.name)
        if self.lines is None and path.is_file() and not path.is_symlink():
            path.unlink()  # or, after a crash here, it would be taken for what is remembered
        if each.ok:
            self._finished.add(self._key(each.name, sha256), each.name, sha256, text)
        if self.lines:
            append_text(self.lines, text + "\n")
        else:
            write_file(path, text)
        return each

    def _key(self, name: str, sha256: str | None) -> str:
        if self.lines is None:
            return self.path(name).name
        return f"- {sha256}" if name == "-" else os.path.normpath(name)

    def _is_finished(self, clip: Source) -> bool:
        """Return whether a clip's transcript is there, and of this audio and these settings."""
        name, sha256 = clip_name(clip), source_digest(clip)
        was = self._finished.get(self._key(name, sha256))
        there = self._digest_there(name, was)
        if there is None:
            return False
        if was is None:
            raise self._unknown(self.path(name))
        if sha256 is not None and sha256 == was.sha256:
            self._finished.require_same_settings(was)
            return True
        if os.path.normpath(name) != os.path.normpath(was.clip):
            raise self._shared(was.clip, name)
        if there != was.written:
            raise self._unknown(self.path(name))
        self._kept.pop(was.written, None)
        self._replaced.add(name)
        return False

    def _digest_there(self, name: str, was: FinishedClip | None) -> str | None:
        """Return the digest of a clip's transcript that is there, None where there is none."""
        if self.lines:
            return was.written if was and was.written in self._kept else None
        path = self.path(name)
        if not path.is_file():
            return None
        try:
            return hashlib.sha256(read_whole(path, RESULTS)).hexdigest()
        except OSError as error:
            raise unwritable(path, error) from None

    def _read_lines(self, path: Path) -> None:
        known = self._finished.written()
        for number, line in enumerate(read_lines(path), 1):
            digest = text_digest(line)
            if digest in known:
                self._kept[digest] = line
            elif "error" not in json.loads(line):
                raise self._unknown(path, number)

    def _shared(self, one: str, other: str) -> ComposerError:
        message = f"{one} and {other} would both be written to {self.path(other)}"
        hint = "write them to two folders, or take the format jsonl"
        return ComposerError(Problem("R542", message, hint=hint))

    def _unknown(self, path: Path, line: int | None = None) -> ComposerError:
        message = "no run is known that wrote this as it is, and --resume would keep or replace it"
        hint = "take another folder, move it out, or replace it by --force in place of --resume"
        return ComposerError(Problem("R507", message, Place(str(path), line), hint=hint))


def read_lines(path: Path) -> list[str]:
    """Return the complete lines of an earlier run; raise R507 where the file contains others."""
    try:
        *lines, half = read_whole(path, RESULTS).decode().split("\n")
        entries = [json.loads(line) for line in lines]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unwritable(path, error) from None
    except (ValueError, RecursionError):
        half, entries = "", [None]
    is_half_line = half == "" or half.startswith('{"audio"')
    if is_half_line and all(isinstance(entry, dict) and "audio" in entry for entry in entries):
        return lines
    hint = "--resume goes on with the file of an earlier composer transcribe"
    raise ComposerError(Problem("R507", "these are no transcripts", Place(str(path)), hint=hint))
