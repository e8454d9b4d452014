"""Transcripts as lines of JSON."""

from __future__ import annotations

from composer.core.output import json_text
from composer.jobs.output_format import OutputFormat, transcription_json
from composer.jobs.transcription import Transcription


def _line(each: Transcription) -> str:
    """Return one object."""
    return json_text(transcription_json(each), None)


JSONL = OutputFormat("jsonl", "an object a line", line=_line)
