"""Transcripts as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from composer.core.output import json_text
from composer.jobs.output_format import OutputFormat, transcription_json
from composer.jobs.transcription import Transcription


def _document(every: Sequence[Transcription]) -> str:
    """Return one array."""
    return json_text([transcription_json(each) for each in every]) + "\n"


def _file(each: Transcription) -> str:
    """Return one object."""
    return json_text(transcription_json(each)) + "\n"


JSON = OutputFormat(
    "json", "one array, or with -o an object in each file", document=_document, file=_file
)
