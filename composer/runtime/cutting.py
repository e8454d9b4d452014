"""Cut audio of any length into pieces that a model takes, without losing a sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from composer.formats.audio.sample_reader import SampleReader
from composer.formats.audio.waveform import Audio, as_read_only
from composer.runtime.speech_scores import MARGIN, SILENT, Span, SpeechScores

if TYPE_CHECKING:
    from composer.formats.audio.recording import Recording

QUIET = 0.1  # seconds over which the level is measured
NEAR = 1 / 3  # of a piece: how far before its limit it may end
LATE = 2 / 3  # of a piece: how far before its limit it may end in a long pause


@dataclass(frozen=True)
class Cut:
    """A stretch of audio, in seconds: its samples, None where it is silence and is not run.

    `speech` is the highest score that a detector gave it, None without a detector.
    """

    start: float
    stop: float
    audio: Audio | None
    speech: float | None = None


def cut(
    audio: Audio | Recording,
    rate: int,
    seconds: float,
    scores: SpeechScores | None,
    skip: bool = True,
) -> Iterator[Cut]:
    """Yield the pieces of audio at a rate, none longer than so many seconds.

    They follow one another from the first sample to the last. A piece ends in the longest pause of
    its last two thirds, else in the last one before, else where its last third is quietest. Where
    silence is to be skipped, long silences are cuts of their own.
    """
    frames = -(-audio.frames * rate // audio.rate)
    ahead = SampleReader(audio.blocks(rate))
    size = round(seconds * rate)
    pauses = _Pauses(scores.pauses() if scores else (), rate)
    sections = _sections(scores, frames, rate) if scores and skip else [(0, frames, False)]
    for first, last, silent in sections:
        start = first
        while start < last:
            stop = last
            if last - start > size and not silent:
                pause = pauses.end_of_piece(start, size)
                stop = pause or start + _quiet_place(ahead.see(size), rate)
            speech = scores.highest(start / rate, stop / rate) if scores else None
            piece = None
            if silent or (skip and speech is not None and speech < SILENT):
                ahead.skip(stop - start)
            else:
                source = f"{audio.source} from {start / rate:.2f} s"
                piece = Audio(as_read_only(ahead.take(stop - start)), rate, source)
            yield Cut(start / rate, stop / rate, piece, speech)
            start = stop


def _sections(scores: SpeechScores, frames: int, rate: int) -> Iterator[tuple[int, int, bool]]:
    """Yield the first frame, the last but one, and whether it is silent, of each long stretch."""
    at = 0
    for begin, end in scores.silences():
        start, stop = round((begin + MARGIN) * rate), round((end - MARGIN) * rate)
        start = 0 if begin == 0 else start
        stop = frames if stop + MARGIN * rate >= frames else stop
        if start > at:
            yield at, start, False
        yield start, stop, True
        at = stop
    if at < frames:
        yield at, frames, False


class _Pauses:
    """The middles of pauses, in frames, and how long each is."""

    def __init__(self, pauses: Sequence[Span], rate: int) -> None:
        spans = np.array(pauses).reshape(-1, 2) * rate
        self.middles = np.round(spans.mean(axis=1)).astype(np.int64)
        self.lengths = spans[:, 1] - spans[:, 0]

    def end_of_piece(self, start: int, size: int) -> int | None:
        """Return where a piece of at most `size` frames ends; None where it has no pause."""
        earliest = start + round(size * (1 - LATE))
        first, late, last = np.searchsorted(self.middles, [start + 1, earliest, start + size + 1])
        if late < last:
            latest_longest = last - 1 - int(np.argmax(self.lengths[late:last][::-1]))
            return int(self.middles[latest_longest])
        return int(self.middles[last - 1]) if first < last else None


def _quiet_place(samples: np.ndarray, rate: int) -> int:
    """Return where a piece ends that has no pause: the quietest place of its last third."""
    first = len(samples) - round(len(samples) * NEAR)
    power = np.square(samples[first:], dtype=np.float64)
    window = max(1, round(QUIET * rate))
    sums = np.cumsum(np.concatenate([[0.0], power]))
    levels = sums[window:] - sums[:-window]
    latest = len(levels) - 1 - int(np.argmin(levels[::-1]))
    return first + latest + window // 2
