"""Transcripts as WebVTT captions."""

from __future__ import annotations

from composer.jobs.output_format import OutputFormat
from composer.jobs.output_formats.cues import clock_text, cues
from composer.jobs.transcription import Transcription

ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def _file(each: Transcription) -> str | None:
    """Return a cue for each segment with text; nothing of a clip that failed."""
    if each.text is None:
        return None
    found = ["WEBVTT\n"]
    for cue in cues(each):
        text = "".join(ESCAPES.get(character, character) for character in cue.text)
        found.append(f"{clock_text(cue.start, '.')} --> {clock_text(cue.end, '.')}\n{text}\n")
    return "\n".join(found)


VTT = OutputFormat(
    "vtt",
    "captions, one clip a file",
    document=lambda every: _file(every[0]) or "",
    file=_file,
    single=True,
)
