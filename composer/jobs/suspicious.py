"""Recognise text that a model probably made up: loops, too much text, text of silence."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

SPEECH = 0.5  # the score above which a detector takes sound for speech
WORTH_TEXT = 1.0  # seconds of speech that should give some text
FASTEST, SHORT = 40.0, 20  # characters in a second, where there are more; a fast speaker says 25
LONGEST_PHRASE = 12  # words, or characters of a script without spaces
REPEATS, REPEATED = 4, 12  # a loop says one phrase so often, and so many words in all
MOST_COMPRESSED = 2.4  # this and the next are the limits of Whisper's own decoding
LEAST_LOGPROB = -1.0


def suspicions(
    text: str, seconds: float, speech: float | None, logprobs: Sequence[float]
) -> tuple[str, ...]:
    """Return why the text of a piece is not to be trusted; nothing where no reason is found.

    `speech` is the highest score that a detector gave the piece, None without one; `logprobs` are
    those of its tokens, if known.
    """
    return tuple(_reasons(text.strip(), seconds, speech, logprobs))


def _reasons(
    text: str, seconds: float, speech: float | None, logprobs: Sequence[float]
) -> Iterator[str]:
    if not text:
        if speech is not None and speech >= SPEECH and seconds >= WORTH_TEXT:
            yield "no text, though there is speech"
        return
    if speech is not None and speech < SPEECH:
        yield f"text, though nothing is surely speech (score {speech:.2f})"
    phrase, times = loop(text)
    if times:
        yield f"'{phrase}' {times} times in a row"
    if len(text) > max(SHORT, FASTEST * seconds):
        yield f"{len(text) / seconds:.0f} characters a second"
    data = text.encode()
    ratio = len(data) / len(zlib.compress(data))
    if ratio > MOST_COMPRESSED:
        yield f"it repeats itself: compressed by {ratio:.1f}"
    if logprobs and sum(logprobs) / len(logprobs) < LEAST_LOGPROB:
        mean = sum(logprobs) / len(logprobs)
        yield f"the model is unsure: {mean:.2f} per token"


def loop(text: str) -> tuple[str, int]:
    """Return the phrase that a text repeats without end, and how often in a row; else "" and 0."""
    units, joiner = text.split(), " "
    if len(units) <= 2:  # a script without spaces
        units, joiner = list(text), ""
    for size in range(1, LONGEST_PHRASE + 1):
        run = 0
        for at in range(size, len(units)):
            run = run + 1 if units[at] == units[at - size] else 0
            times = run // size + 1
            if times >= REPEATS and times * size >= REPEATED:
                return joiner.join(units[at - size + 1 : at + 1]), _times(units, at, size)
    return "", 0


def _times(units: Sequence[str], at: int, size: int) -> int:
    """Return how often the phrase that ends at a unit stands there in a row, also behind it."""
    phrase = units[at - size + 1 : at + 1]
    first = at - size + 1
    while first >= size and units[first - size : first] == phrase:
        first -= size
    times = 0
    while units[first + times * size : first + (times + 1) * size] == phrase:
        times += 1
    return times
