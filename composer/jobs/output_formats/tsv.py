"""Transcripts as tables of segments, with times in milliseconds, as whisper writes them."""

from __future__ import annotations

from composer.jobs.output_format import OutputFormat
from composer.jobs.output_formats.cues import cues
from composer.jobs.transcription import Transcription


def _file(each: Transcription) -> str | None:
    """Return a row for each segment with text; nothing of a clip that failed."""
    if each.text is None:
        return None
    rows = [f"{cue.start}\t{cue.end}\t{' '.join(cue.text.split())}" for cue in cues(each)]
    return "\n".join(["start\tend\ttext", *rows]) + "\n"


TSV = OutputFormat(
    "tsv",
    "a table of segments, one clip a file",
    document=lambda every: _file(every[0]) or "",
    file=_file,
    single=True,
)
