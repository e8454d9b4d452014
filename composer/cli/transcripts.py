"""Write transcripts as they come: on stdout, or to files of a folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from composer.cli.printing import note, report, say
from composer.cli.results import cut_warning
from composer.core.errors import ComposerError, Place, Problem
from composer.core.output import (
    append_file,
    as_json,
    require_free,
    require_writable,
    unwritable,
    write_file,
)
from composer.evaluation.data import SUFFIXES

if TYPE_CHECKING:
    from composer.jobs.output_format import OutputFormat
    from composer.jobs.progress import Progress
    from composer.jobs.transcribe import Transcription


@dataclass
class TranscriptWriter:
    """Where transcripts go: stdout, or files of a folder."""

    format: OutputFormat
    folder: Path | None
    force: bool = False
    resume: bool = False
    done: list[Transcription] = field(default_factory=list)
    _begin: dict[str, str] = field(default_factory=dict)  # lines of an earlier run, by their clip

    @property
    def lines(self) -> Path | None:
        """Return the one file that all clips are written to, a line each."""
        if self.folder is None or self.format.file:
            return None
        return self.folder / f"transcripts.{self.format.name}"

    def open(self, clips: Sequence[str]) -> list[str]:
        """Return the clips to run; refuse what would replace a file that is there.

        With `resume` those whose transcript is there are left out, and with `force` what is there
        is replaced. Raise ComposerError before anything is loaded.
        """
        if self.folder is None:
            return list(clips)
        if self.lines is None:
            paths = {clip: self.folder / _file(clip, self.format) for clip in clips}
            if self.resume:
                return [clip for clip, path in paths.items() if not path.is_file()]
            for path in paths.values():
                require_free(path, self.force)
            return list(clips)
        if not self.resume:
            require_free(self.lines, self.force)
        for line in read_lines(self.lines) if self.resume else ():
            if "error" not in line:
                self._begin[str(line["audio"])] = as_json(line, None)
        require_writable(self.lines)
        return [clip for clip in clips if clip not in self._begin]

    def follow(self, step: Progress) -> None:
        """Begin the file of lines once the bundle has loaded, so that a failure replaces none."""
        if step.stage == "transcribing" and step.done == 0 and self.lines:
            write_file(self.lines, "".join(f"{line}\n" for line in self._begin.values()))

    def add(self, each: Transcription) -> None:
        """Write one clip's transcript, or its problems."""
        clip = each.name
        if each.problems:
            note(f"{clip}:")
            report(each.problems)
        for said in each.notes:
            note(f"{clip}: {said}")
        warning = cut_warning(each.cut_short, clip)
        if warning:
            note(warning)
        self._write(clip, each)

    def _write(self, clip: str, each: Transcription) -> None:
        if self.folder and self.format.file:
            text = self.format.file(each)
            if text is not None:
                write_file(self.folder / _file(clip, self.format), text)
        elif self.format.line is None:
            self.done.append(each)
        elif self.lines:
            append_file(self.lines, self.format.line(each) + "\n")
        else:
            say(self.format.line(each))

    def close(self) -> None:
        """Write what can only be written whole."""
        if self.folder is None and self.format.line is None and self.format.document:
            say(self.format.document(self.done), end="")


def require_distinct(clips: list[str], format: OutputFormat, folder: Path | None) -> None:
    """Refuse two clips that would be written to one file."""
    if folder is None or format.file is None:
        return
    seen: dict[str, str] = {}
    for clip in clips:
        name = _file(clip, format)
        # File systems of macOS and Windows take A.txt and a.txt for one file.
        if name.casefold() in seen:
            raise typer.BadParameter(
                f"{seen[name.casefold()]} and {clip} would both be written to {folder / name}; "
                "write them to two folders, or take -f jsonl"
            )
        seen[name.casefold()] = clip


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the transcripts of an earlier run; raise R507 where the file holds something else."""
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


def expand_folders(clips: Sequence[str]) -> list[str]:
    """Return the clips, those of a folder in the place of the folder."""
    found: list[str] = []
    for clip in clips:
        path = Path(clip)
        if clip == "-" or not path.is_dir():
            found.append(clip)
            continue
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not inside:
            hint = f"clips end in {', '.join(sorted(SUFFIXES))}"
            raise ComposerError(Problem("R542", "no clip is in the folder", Place(clip), hint=hint))
        found += map(str, inside)
    return found


def _file(clip: str, format: OutputFormat) -> str:
    name = "stdin" if clip == "-" else Path(clip).stem
    return f"{name}.{format.name}"
