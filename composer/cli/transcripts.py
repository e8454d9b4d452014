"""Print transcripts as they come."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from composer.cli.printing import echo, print_note, print_problems
from composer.cli.results import truncation_warning
from composer.core.terminal import escape_line

if TYPE_CHECKING:
    from composer.jobs.output_format import OutputFormat
    from composer.jobs.transcription import Transcription


@dataclass
class TranscriptPrinter:
    """Print what is to be noted of each clip, and its transcript unless it has a file.

    Of `several` clips each line names its clip.
    """

    format: OutputFormat
    has_files: bool
    several: bool = False
    done: list[Transcription] = field(default_factory=list)

    def add(self, each: Transcription) -> None:
        """Print one clip's notes and problems, and its transcript where that is a line."""
        if each.problems:
            print_note(f"{each.name}:")
            print_problems(each.problems)
        for text in each.notes:
            print_note(f"{each.name}: {text}")
        warning = truncation_warning(each.cut_short, each.name)
        if warning:
            print_note(warning)
        for part in each.segments:
            for reason in part.suspicious:
                print_note(
                    f"{each.name}: suspicious at {part.start:.2f} to {part.end:.2f} s: {reason}"
                )
        if self.has_files:
            return
        if self.format.line:
            echo(self._named(each) + self.format.line(each))
        else:
            self.done.append(each)

    def _named(self, each: Transcription) -> str:
        if not (self.several and self.format.bare):
            return ""
        return escape_line(each.name) + ": "

    def close(self) -> None:
        """Print what can only be printed whole."""
        if self.has_files or self.format.line or (self.format.single and not self.done):
            return
        if self.format.document:
            echo(self.format.document(self.done), end="")
