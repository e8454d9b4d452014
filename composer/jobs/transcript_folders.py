"""Write transcripts to one folder in several formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from composer.core.errors import ComposerError, Problem
from composer.formats.audio.reading import Source
from composer.jobs.output_format import output_format
from composer.jobs.transcript_folder import TranscriptFolder
from composer.jobs.transcription import Transcription


@dataclass
class TranscriptFolders:
    """The files of a folder in each of its formats, as `TranscriptFolder` writes them."""

    each: Sequence[TranscriptFolder]
    _missing: list[set[int]] = field(default_factory=list)  # by format, the clips to write

    @classmethod
    def of(
        cls, folder: Path, formats: Sequence[str], force: bool, resume: bool
    ) -> TranscriptFolders:
        """Return the files of a folder; raise R544 for an unknown format, or one given twice."""
        if len(set(formats)) < len(formats):
            raise ComposerError(Problem("R544", f"a format is given twice: {', '.join(formats)}"))
        found = []
        for name in formats:
            found.append(TranscriptFolder(folder, output_format(name), force, resume))
        return cls(found)

    def require_distinct(self, clips: Sequence[Source]) -> None:
        """Raise R542 for clips that would share a file."""
        for writer in self.each:
            writer.require_distinct(clips)

    def refuse_existing(self, clips: Sequence[Source]) -> None:
        """Raise R507 for a file that would be replaced, or cannot be written."""
        for writer in self.each:
            writer.refuse_existing(clips)

    def open(self, clips: Sequence[Source], made_by: Mapping[str, Any]) -> list[Source]:
        """Return the clips that a format has no transcript of; raise as `TranscriptFolder.open`."""
        self._missing = [set(map(id, writer.open(clips, made_by))) for writer in self.each]
        wanted = set().union(*self._missing)
        return [clip for clip in clips if id(clip) in wanted]

    def begin(self) -> None:
        """Begin the files of lines; it is called once the bundle has loaded."""
        for writer in self.each:
            writer.begin()

    def add(self, clip: Source, made: Transcription, sha256: str | None) -> Transcription:
        """Write a clip's transcript, or its problems, where it is missing; return it as written."""
        written = made
        for writer, missing in zip(self.each, self._missing, strict=True):
            if id(clip) in missing:
                added = writer.add(made, sha256)
                written = added if len(added.notes) > len(written.notes) else written
        return written
