"""Words of a transcript, with their times or with the probability of their tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Word:
    """A word, its punctuation included, and when it is spoken, in seconds of the clip.

    `source` is the aligner that gave the times, `resolution` how long its classes of time are,
    `probability` that of the less probable one of the two, and `repaired` says that one of the
    times was moved, since it went back before another or lies behind the end. Without an aligner
    these are None. `logprob` is the logarithm of the probability that the decoder gave the tokens
    of the word, None where that is not known.
    """

    text: str
    start: float | None = None
    end: float | None = None
    probability: float | None = None
    repaired: bool | None = None
    source: str | None = None
    resolution: float | None = None
    logprob: float | None = None

    def later(self, seconds: float) -> Word:
        """Return the word of a clip that begins so much earlier."""
        if self.start is None or self.end is None:
            return self
        return replace(self, start=self.start + seconds, end=self.end + seconds)


def word_json(word: Word) -> dict[str, Any]:
    """Return a word as JSON holds it: what is known of it, times to the millisecond."""
    found: dict[str, Any] = {"word": word.text}
    if word.start is not None and word.end is not None:
        found |= {
            "start": round(word.start * 1000) / 1000,
            "end": round(word.end * 1000) / 1000,
            "probability": word.probability and round(word.probability, 4),
            "repaired": word.repaired,
            "source": word.source,
            "resolution": word.resolution,
        }
    if word.logprob is not None:
        found["logprob"] = round(word.logprob, 4)
    return found


def with_logprobs(
    words: Sequence[Word], text: str, ends: Sequence[int], logprobs: Sequence[float]
) -> tuple[Word, ...]:
    """Return words, which stand in a text one after another, with the log-probability of tokens.

    So many characters of the text there are after each token; none are known where its tokens are
    those of another text.
    """
    if not logprobs or len(ends) != len(logprobs):
        return tuple(words)
    found, at = [], 0
    for word in words:
        start = text.index(word.text, at)
        at = start + len(word.text)
        total, before = 0.0, ends[0] - 1
        for end, logprob in zip(ends, logprobs, strict=True):
            # a token may be the space before a word, and a part of it, too
            if before < at and end > start:
                total += logprob
            before = end
        found.append(replace(word, logprob=total))
    return tuple(found)


def plain_words(text: str) -> list[Word]:
    """Return what stands between white space."""
    return [Word(found[0]) for found in WORD.finditer(text)]


def timed_words(text: str, times: Mapping[str, Any], source: str, seconds: float) -> list[Word]:
    """Return words with the times that an aligner gave, in a clip of so many seconds.

    What lies behind its end is moved there.
    """
    words = []
    resolution = float(times["resolution"][0])
    rows = zip(
        times["spans"].tolist(),
        times["start"].tolist(),
        times["end"].tolist(),
        times["probability"].tolist(),
        times["repaired"].tolist(),
        strict=True,
    )
    for (first, last), start, end, probability, repaired in rows:
        words.append(
            Word(
                text[first:last],
                min(start, seconds),
                min(end, seconds),
                probability,
                repaired or end > seconds,
                source,
                resolution,
            )
        )
    return words
