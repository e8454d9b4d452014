"""The tokens of a transcript with their log-probabilities, as OpenAI's API writes them."""

from __future__ import annotations

from typing import Any

from composer.jobs.transcription import SpokenSegment, Transcription


def token_logprobs(made: Transcription) -> list[dict[str, Any]]:
    """Return each token of the text: what it adds to it, its logarithm, and that text's bytes.

    The tokens of a segment are together its text; what joins two segments is no token. Tokens
    before the text, such as a language that the model names, are left out, and so is a segment
    whose text is not what the decoder wrote: `text_ends` are not known then.
    """
    return [entry for segment in made.segments for entry in _entries(segment)]


def has_all_logprobs(made: Transcription) -> bool:
    """Return whether every segment that has a text has the log-probabilities of its tokens."""
    return all(len(part.text_ends) == len(part.logprobs) > 0 for part in made.segments if part.text)


def _entries(segment: SpokenSegment) -> list[dict[str, Any]]:
    found, begin = [], 0
    if len(segment.text_ends) != len(segment.logprobs):
        return []
    for end, logprob in zip(segment.text_ends, segment.logprobs, strict=True):
        if end <= 0:
            continue
        text = segment.text[begin:end]
        begin = max(begin, end)
        found.append({"token": text, "logprob": logprob, "bytes": list(text.encode())})
    return found
