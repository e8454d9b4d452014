"""Write transcripts as they come: on stdout, or to files of a folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from composer.cli.printing import note, problem_json, report, say
from composer.cli.results import cut_warning, plains
from composer.core.output import append_file, as_json, unwritable, write_file

if TYPE_CHECKING:
    from composer.jobs.progress import Progress
    from composer.jobs.transcribe import Transcription


class Format(StrEnum):
    """How transcripts are written."""

    txt = "txt"
    json = "json"
    jsonl = "jsonl"


@dataclass
class TranscriptWriter:
    """Where transcripts go: stdout, or files of a folder."""

    format: Format
    folder: Path | None
    entries: list[dict[str, Any]] = field(default_factory=list)

    @property
    def lines(self) -> Path | None:
        """Return the one file that all clips are written to, a line each."""
        if self.folder is None or self.format is not Format.jsonl:
            return None
        return self.folder / "transcripts.jsonl"

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
        warning = cut_warning(each.cut_short, clip)
        if warning:
            note(warning)
        self._write(clip, transcription_json(each))

    def _write(self, clip: str, entry: dict[str, Any]) -> None:
        if self.format is Format.txt:
            self._write_text(clip, entry)
        elif self.lines:
            append_file(self.lines, as_json(entry, None) + "\n")
        elif self.folder:
            write_file(self.folder / _file(clip, self.format), as_json(entry) + "\n")
        elif self.format is Format.json:
            self.entries.append(entry)
        else:
            say(as_json(entry, None))

    def _write_text(self, clip: str, entry: dict[str, Any]) -> None:
        """Write only the text; on stdout it is one line, so that line N is clip N."""
        if self.folder is None:
            say(" ".join(entry.get("text", "").split()))
        elif "text" in entry:
            write_file(self.folder / _file(clip, self.format), entry["text"] + "\n")

    def close(self) -> None:
        """Write what can only be written whole."""
        if self.folder is None and self.format is Format.json:
            say(as_json(self.entries))


def transcription_json(each: Transcription) -> dict[str, Any]:
    """Return a clip's transcript, or its problems, as JSON holds it."""
    if each.problems:
        return {"audio": str(each.clip), "error": [problem_json(p) for p in each.problems]}
    return {
        "audio": str(each.clip),
        "text": each.text,
        "outputs": plains(each.outputs),
        "finish_reason": each.finish_reason,
        "tokens": each.tokens,
        "seconds": round(each.seconds, 3),
    }


def require_distinct(clips: list[str], format: Format, folder: Path | None) -> None:
    """Refuse two clips that would be written to one file."""
    if folder is None or format is Format.jsonl:
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


def _file(clip: str, format: Format) -> str:
    return f"{Path(clip).stem}.{format.value}"
