"""Transcripts as plain text."""

from __future__ import annotations

from composer.jobs.output_format import OutputFormat
from composer.jobs.transcription import Transcription


def _line(each: Transcription) -> str:
    """Return the text on one line, so that line N is clip N; an empty one of a clip that failed."""
    return " ".join((each.text or "").split())


def _file(each: Transcription) -> str | None:
    """Return the text as it is."""
    return None if each.text is None else f"{each.text}\n"


TXT = OutputFormat("txt", "a line for each clip", line=_line, file=_file, bare=True)
