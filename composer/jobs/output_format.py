"""What an output format is: how transcripts are written, one by one or together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from composer.core.errors import ComposerError, Problem
from composer.core.extensions import extension, extensions
from composer.core.output import plain_values, problem_json
from composer.core.suggest import did_you_mean, listed
from composer.jobs.transcription import SpokenSegment, Transcription
from composer.jobs.words import Word, word_json

GROUP = "composer.output_formats"


@dataclass(frozen=True)
class OutputFormat:
    """A format by its name, which is that of its entry point and the ending of its files.

    `line` writes a clip as one line, as soon as it is done; without it `document` writes all clips
    at the end, or one where `single` says that it has no more. `logprobs` says that it writes the
    probabilities of tokens, `bare` that a line is the text alone and names no clip. In a folder
    each clip has the file that `file` writes, None for a clip without one; without `file` the lines
    of all clips go to one file.
    """

    name: str
    summary: str
    line: Callable[[Transcription], str] | None = None
    document: Callable[[Sequence[Transcription]], str] | None = None
    file: Callable[[Transcription], str | None] | None = None
    single: bool = False
    logprobs: bool = False
    bare: bool = False

    def __post_init__(self) -> None:
        if not (self.line or self.document) or not (self.line or self.file):
            raise ValueError(f"{self.name} needs a line, or a document and a file")


def output_formats() -> list[str]:
    """Return the name of every output format there is."""
    return extensions(GROUP)


def output_format(name: str) -> OutputFormat:
    """Return an output format; raise R544 when there is none."""
    if name not in output_formats():
        several = name.replace(",", " ").split()
        if len(several) > 1 and set(several) <= set(output_formats()):
            near = f"give each by itself: {' '.join(f'-f {each}' for each in several)}"
        else:
            near = did_you_mean(name, output_formats()) or f"there are: {listed(output_formats())}"
        raise ComposerError(Problem("R544", f"there is no output format '{name}'; {near}"))
    loaded: OutputFormat = extension(GROUP, name)
    return loaded


def to_milliseconds(seconds: float) -> int:
    """Return a time in whole milliseconds, rounded once."""
    return round(seconds * 1000)


def coverage(each: Transcription) -> dict[str, float]:
    """Return how long the audio is, and how much of it was run and was silence: together all."""
    return {
        "audio": to_milliseconds(each.audio_seconds) / 1000,
        "run": to_milliseconds(each.run_seconds) / 1000,
        "silent": to_milliseconds(each.silent_seconds) / 1000,
    }


def transcription_json(each: Transcription) -> dict[str, Any]:
    """Return a clip's transcript, or its problems, as JSON holds it."""
    if each.problems:
        return {"audio": each.name, "error": [problem_json(p) for p in each.problems]}
    return {
        "audio": each.name,
        "text": each.text,
        "outputs": plain_values(each.outputs),
        "finish_reason": each.finish_reason,
        "tokens": each.tokens,
        "seconds": round(each.seconds, 3),
        "notes": list(each.notes),
        "coverage": coverage(each),
        "segments": [
            {
                "start": to_milliseconds(part.start) / 1000,
                "end": to_milliseconds(part.end) / 1000,
                "text": part.text,
                "channel": part.channel,
                "silent": part.silent,
                "suspicious": list(part.suspicious),
                **_decoded_json(part),
                **words_json(part.words),
            }
            for part in each.segments
        ],
    }


def _decoded_json(segment: SpokenSegment) -> dict[str, Any]:
    """Return the tokens of a segment with their log-probabilities, where these were asked for."""
    if not segment.logprobs:
        return {}
    return {"tokens": list(segment.ids), "logprobs": list(segment.logprobs)}


def words_json(words: Sequence[Word]) -> dict[str, Any]:
    """Return the words of a segment or of a clip under `words`; nothing where there are none."""
    return {"words": [word_json(word) for word in words]} if words else {}
