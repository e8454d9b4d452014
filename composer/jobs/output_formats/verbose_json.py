"""Transcripts as `verbose_json`, which OpenAI's API gives of its transcriptions."""

from __future__ import annotations

import zlib
from typing import Any

from composer.core.languages import in_spelling_of
from composer.core.output import json_text
from composer.jobs.output_format import OutputFormat, coverage, to_milliseconds, words_json
from composer.jobs.transcription import SpokenSegment, Transcription

ENGLISH = "English"  # names are spelled as this one is
UNKNOWN = "unknown"
FRAMES = 100  # in a second: `seek` counts them


def usage(each: Transcription) -> dict[str, Any]:
    """Return how many rows the decoder read and how many tokens it wrote."""
    read, written = each.prompt_tokens, each.tokens
    return {
        "type": "tokens",
        "input_tokens": read,
        "output_tokens": written,
        "total_tokens": read + written,
    }


def verbose_object(each: Transcription) -> dict[str, Any]:
    """Return a transcript with every key of the format.

    `language` is an English name in lower case, or unknown. What was not measured is null:
    `no_speech_prob`, 1 less the highest score of speech, without a detector of speech, and
    `avg_logprob` without log-probabilities. There are `words` where a clip was aligned.
    """
    return {
        "task": "translate" if each.task == "translate" else "transcribe",
        "language": in_spelling_of(each.language, ENGLISH).lower() if each.language else UNKNOWN,
        "duration": to_milliseconds(each.duration) / 1000,
        "text": each.text,
        "segments": [
            _segment(number, segment, each.temperature)
            for number, segment in enumerate(s for s in each.segments if not s.silent)
        ],
        "silences": [
            {"start": to_milliseconds(part.start) / 1000, "end": to_milliseconds(part.end) / 1000}
            for part in each.segments
            if part.silent
        ],
        **words_json([word for word in each.words if word.start is not None]),
        "usage": {"type": "duration", "seconds": to_milliseconds(each.duration) / 1000},
        "notes": list(each.notes),
        "coverage": coverage(each),
    }


def _segment(number: int, segment: SpokenSegment, temperature: float) -> dict[str, Any]:
    data = segment.text.encode()
    logprobs = segment.logprobs
    return {
        "id": number,
        "seek": round(segment.start * FRAMES),
        "start": to_milliseconds(segment.start) / 1000,
        "end": to_milliseconds(segment.end) / 1000,
        "text": segment.text,
        "tokens": list(segment.ids),
        "temperature": temperature,
        "avg_logprob": sum(logprobs) / len(logprobs) if logprobs else None,
        "compression_ratio": len(data) / len(zlib.compress(data)) if data else None,
        "no_speech_prob": None if segment.speech is None else round(1 - segment.speech, 4),
        "channel": segment.channel,
        "suspicious": list(segment.suspicious),
    }


def _file(each: Transcription) -> str | None:
    """Return one object; nothing of a clip that failed."""
    return None if each.text is None else json_text(verbose_object(each)) + "\n"


VERBOSE_JSON = OutputFormat(
    "verbose_json",
    "an object as OpenAI's API gives it, one clip a file",
    document=lambda every: _file(every[0]) or "",
    file=_file,
    single=True,
    logprobs=True,
)
