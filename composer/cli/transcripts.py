"""Write transcripts as they come: on stdout, or to files of a folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from composer.cli.printing import note, report, say
from composer.cli.results import cut_warning
from composer.core.output import append_file, unwritable, write_file

if TYPE_CHECKING:
    from composer.jobs.output_format import OutputFormat
    from composer.jobs.progress import Progress
    from composer.jobs.transcribe import Transcription


@dataclass
class TranscriptWriter:
    """Where transcripts go: stdout, or files of a folder."""

    format: OutputFormat
    folder: Path | None
    done: list[Transcription] = field(default_factory=list)

    @property
    def lines(self) -> Path | None:
        """Return the one file that all clips are written to, a line each."""
        if self.folder is None or self.format.file:
            return None
        return self.folder / f"transcripts.{self.format.name}"

    def follow(self, step: Progress) -> None:
        """Open the files before anything is fetched; replace an earlier run's once it has loaded.

        Raise ComposerError where nothing can be written; what is there already stays.
        """
        if step.stage == "fetching":
            self._open()
        if step.stage == "transcribing" and step.done == 0 and self.lines:
            write_file(self.lines, "")

    def _open(self) -> None:
        if self.folder:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise unwritable(self.folder, error) from None
        if self.lines:
            append_file(self.lines, "")

    def add(self, each: Transcription) -> None:
        """Write one clip's transcript, or its problems."""
        clip = str(each.clip)
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


def _file(clip: str, format: OutputFormat) -> str:
    return f"{Path(clip).stem}.{format.name}"
