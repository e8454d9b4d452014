"""What the encoder should say of each row, from the synthesizer's times."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

from training import corpus
from training.model import PHONE_SLOTS, ROW_SECONDS

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


def word_tokens(sentence: str, said: Encoding) -> Iterator[tuple[int, int]]:
    """Yield the number of the word that each token belongs to, and the token."""
    for token, (start, _) in zip(said.ids, said.offsets, strict=True):
        yield sentence[: start + 1].count(" "), token


def token_rows(sentence: str, said: Encoding, ends: list[float], count: int, blank: int) -> Labels:
    """Put each token into the row in which its word ends, or into the next free one."""
    rows = np.full(count, blank)
    at = -1
    for number, token in word_tokens(sentence, said):
        at = min(max(at + 1, int((ends[number] - 0.02) / ROW_SECONDS)), count - 1)
        rows[at] = token
    return rows


def phone_slots(times: list[float], phones: list[int], count: int) -> Labels:
    """Name the phone in the middle of every slot of `count` rows."""
    middle = (np.arange(count * PHONE_SLOTS) + 0.5) * ROW_SECONDS / PHONE_SLOTS
    return np.array(phones)[np.searchsorted(times, middle, side="right") - 1]


def inventory(entries: list[corpus.Utterance]) -> dict[str, int]:
    """Number the phones of a corpus."""
    names = sorted({"_"} | {phone for entry in entries for _, phone in entry.phones})
    return {name: number for number, name in enumerate(names)}
