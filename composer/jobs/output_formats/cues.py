"""Cues of subtitles, of the segments of a clip."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from composer.jobs.output_format import to_milliseconds
from composer.jobs.transcription import Transcription


@dataclass(frozen=True)
class Cue:
    """A text from one millisecond to another, which is later."""

    start: int
    end: int
    text: str


def cues(each: Transcription) -> Iterator[Cue]:
    """Yield the segments that have text, without empty lines and arrows, which end a cue."""
    for segment in each.segments:
        lines = [" ".join(line.split()) for line in segment.text.splitlines()]
        text = "\n".join(line for line in lines if line).replace("-->", "->")
        if text:
            start = to_milliseconds(segment.start)
            yield Cue(start, max(to_milliseconds(segment.end), start + 1), text)


def clock_text(milliseconds: int, point: str) -> str:
    """Return a time as HH:MM:SS and its milliseconds after a point."""
    seconds, rest = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{rest:03}"
