"""Transcripts as SubRip subtitles."""

from __future__ import annotations

from composer.jobs.output_format import OutputFormat
from composer.jobs.output_formats.cues import clock_text, cues
from composer.jobs.transcription import Transcription


def _file(each: Transcription) -> str | None:
    """Return a numbered cue for each segment with text; nothing of a clip that failed."""
    if each.text is None:
        return None
    lines = [
        f"{number}\n{clock_text(cue.start, ',')} --> {clock_text(cue.end, ',')}\n{cue.text}\n"
        for number, cue in enumerate(cues(each), start=1)
    ]
    return "\n".join(lines)


SRT = OutputFormat(
    "srt",
    "subtitles, one clip a file",
    document=lambda every: _file(every[0]) or "",
    file=_file,
    single=True,
)
