"""Turns: utterances of the corpus, joined, stretched and recorded again."""

from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np

from training import corpus, speech, targets

SILENT_SHARE = 0.02
PAUSE = "_"  # the phone of silence


@dataclass(frozen=True)
class Turn:
    """One clip at 16 kHz with its words and their times.

    `phones` are (seconds, mnemonic); `ends` has the second at which each word ends, `spans` from
    where to where it is spoken, None where the synthesizer runs it together with another.
    """

    wave: speech.Wave
    text: str
    phones: list[tuple[float, str]]
    ends: list[float]
    spans: list[tuple[float, float] | None]


def deal(lengths: list[int], random: Random, share: float, longest: float) -> list[list[int]]:
    """Deal utterances into turns: a share joins two to four, and none exceeds `longest` seconds."""
    indices = list(range(len(lengths)))
    random.shuffle(indices)
    turns, next_index = [], 0
    while next_index < len(indices):
        count = random.randint(2, 4) if random.random() < share else 1
        turn = indices[next_index : next_index + count]
        next_index += count
        while sum(lengths[index] for index in turn) > longest * corpus.RATE:
            turn = turn[:-1]
        turns.append(turn)
    return [turn for turn in turns if turn]


def stretch(wave: speech.Wave, factor: float) -> speech.Wave:
    """Play a wave faster by a factor; pitch and formants move with it."""
    at = np.arange(0.0, len(wave) - 1, factor)
    out: speech.Wave = np.interp(at, np.arange(len(wave)), wave).astype(np.float32)
    return out


def mask(mel: speech.Wave, random: Random) -> speech.Wave:
    """Blank up to two bands of time and two of frequency, as SpecAugment does."""
    mel = mel.copy()
    fill = mel.mean()
    for _ in range(random.randint(0, 2)):
        width = random.randint(1, 15)
        start = random.randrange(max(1, mel.shape[1] - width))
        mel[:, start : start + width] = fill
    for _ in range(random.randint(0, 2)):
        width = random.randint(1, 10)
        start = random.randrange(mel.shape[0] - width)
        mel[start : start + width] = fill
    return mel


class Studio:
    """Records turns of one corpus."""

    def __init__(self, folder: Path) -> None:
        self.entries, self.waves = corpus.read(folder)

    def wave(self, index: int) -> speech.Wave:
        """Read one clean wave."""
        entry = self.entries[index]
        part = self.waves[entry.start : entry.start + entry.samples]
        return part.astype(np.float32) / np.float32(32768)

    def record(self, turn: list[int], random: Random) -> Turn:
        """Join the utterances of a turn and pass them through a condition; some are silent."""
        factor, where = random.uniform(0.88, 1.13), speech.condition(random)
        waves, phones, ends = [], [(0.0, PAUSE)], []
        spans: list[tuple[float, float] | None] = []
        now = 0.0
        for index in turn:
            entry = self.entries[index]
            gap = np.zeros(int(random.uniform(0, 0.4) * corpus.RATE), np.float32)
            now += len(gap) / corpus.RATE
            ends += [now + time / factor for time in targets.word_ends(entry)]
            for span in targets.word_spans(entry):
                spans.append(span and (now + span[0] / factor, now + span[1] / factor))
            phones += [(now + time / factor, phone) for time, phone in entry.phones]
            waves += [gap, stretch(self.wave(index), factor)]
            now += len(waves[-1]) / corpus.RATE
        waves.append(np.zeros(int(random.uniform(0, 0.3) * corpus.RATE), np.float32))
        wave, text = np.concatenate(waves), " ".join(self.entries[at].text for at in turn)
        if random.random() < SILENT_SHARE:
            wave, text, phones, ends = np.full_like(wave, 1e-4), "", [(0.0, PAUSE)], []
            spans = []
            where = speech.Condition(noise=random.choice(("white", "pink")), peak=where.peak)
        babble = [self.wave(random.randrange(len(self.entries))) for _ in range(6)]
        wave = speech.record(wave, corpus.RATE, where, random, babble)
        return Turn(wave, text, phones, ends, spans)
