"""Write transcripts to the files of a folder as they come."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from composer.core.errors import ComposerError, Place, Problem
from composer.core.output import (
    append_file,
    as_json,
    require_free,
    require_writable,
    unwritable,
    write_file,
)
from composer.formats.audio.reading import Source
from composer.jobs.output_format import OutputFormat
from composer.jobs.transcription import Transcription, clip_name


@dataclass
class TranscriptFolder:
    """The files of a folder that transcripts are written to in a format.

    With `resume`, transcripts that are there stay; with `force` they are replaced.
    """

    folder: Path
    format: OutputFormat
    force: bool = False
    resume: bool = False
    _kept: dict[str, str] = field(default_factory=dict)  # lines of an earlier run, by their clip

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
                message = f"{seen[file]} and {name} would both be written to {self.path(name)}"
                hint = "write them to two folders, or take the format jsonl"
                raise ComposerError(Problem("R542", message, hint=hint))
            seen[file] = name

    def open(self, clips: Sequence[Source]) -> list[Source]:
        """Return the clips to run; raise R507 for what would replace a file that is there."""
        if self.resume and self.force:
            message = "--resume goes on in a folder: give -o, and no --force"
            raise ComposerError(Problem("R542", message))
        if self.lines is None:
            return self._missing_files(clips)
        if self.resume:
            for line in read_lines(self.lines):
                if "error" not in line:
                    self._kept[str(line["audio"])] = as_json(line, None)
        else:
            require_free(self.lines, self.force)
        require_writable(self.lines)
        return [clip for clip in clips if clip_name(clip) not in self._kept]

    def _missing_files(self, clips: Sequence[Source]) -> list[Source]:
        if self.resume:
            return [clip for clip in clips if not self.path(clip_name(clip)).is_file()]
        for clip in clips:
            require_free(self.path(clip_name(clip)), self.force)
        return list(clips)

    def begin(self) -> None:
        """Begin the file of lines; it is called once the bundle has loaded."""
        if self.lines:
            write_file(self.lines, "".join(f"{line}\n" for line in self._kept.values()))

    def add(self, each: Transcription) -> None:
        """Write one clip's transcript, or its problems."""
        if self.format.file:
            text = self.format.file(each)
            if text is not None:
                write_file(self.path(each.name), text)
        elif self.lines and self.format.line:
            append_file(self.lines, self.format.line(each) + "\n")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the transcripts of an earlier run; raise R507 where the file contains others."""
    if not path.exists():
        return []
    try:
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    except OSError as error:
        raise unwritable(path, error) from None
    except (ValueError, RecursionError):
        lines = [None]
    if all(isinstance(line, dict) and "audio" in line for line in lines):
        return lines
    hint = "--resume goes on with the file of an earlier composer transcribe"
    raise ComposerError(Problem("R507", "these are no transcripts", Place(str(path)), hint=hint))
