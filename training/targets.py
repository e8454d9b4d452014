"""Training targets of an encoder's rows, from the synthesizer's times."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

from training import corpus

Labels = NDArray[np.int64]


def word_ends(entry: corpus.Utterance) -> list[float]:
    """Give when each word ends: when the next one begins.

    The synthesizer runs some pairs of words together; there the middle of the pair counts.
    """
    firsts = [at + 1 for at, letter in enumerate(entry.text) if letter == " "]
    known = {position: time for time, position in entry.words}
    end = max(time for time, _ in entry.phones)
    times = [*(known.get(first, -1.0) for first in firsts), end]
    for number, time in enumerate(times):
        if time < 0:
            later = next(after for after in times[number + 1 :] if after >= 0)
            times[number] = ((times[number - 1] if number else 0.0) + later) / 2
    return times


def word_spans(entry: corpus.Utterance) -> list[tuple[float, float] | None]:
    """Give from where to where each word is spoken; None where it is run together with another.

    A word ends where a pause begins, or else the next word.
    """
    firsts = [0, *(at + 1 for at, letter in enumerate(entry.text) if letter == " ")]
    known = {position: time for time, position in entry.words}
    last = max(time for time, _ in entry.phones)
    spans: list[tuple[float, float] | None] = []
    for first, after in zip(firsts, [*firsts[1:], None], strict=True):
        start, end = known.get(first), last if after is None else known.get(after)
        if start is None or end is None:
            spans.append(None)
            continue
        pauses = [time for time, phone in entry.phones if phone[:1] == "_" and start < time < end]
        spans.append((start, min(pauses, default=end)))
    return spans


def word_tokens(sentence: str, encoding: Encoding) -> Iterator[tuple[int, int]]:
    """Yield the number of the word that each token belongs to, and the token."""
    for token, (start, _) in zip(encoding.ids, encoding.offsets, strict=True):
        yield sentence[: start + 1].count(" "), token


def phone_slots(times: list[float], phones: list[int], count: int, seconds: float) -> Labels:
    """Name the phone in the middle of every one of `count` slots that last `seconds` each."""
    middle = (np.arange(count) + 0.5) * seconds
    return np.array(phones)[np.searchsorted(times, middle, side="right") - 1]


def inventory(entries: list[corpus.Utterance]) -> dict[str, int]:
    """Number the phones of a corpus."""
    names = sorted({"_"} | {phone for entry in entries for _, phone in entry.phones})
    return {name: number for number, name in enumerate(names)}
