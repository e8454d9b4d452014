"""Batches: waves of the corpus, recorded anew in every epoch."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from training import corpus, features, speech, targets, text
from training.model import AUDIO, PHONE_SLOTS

SILENT_SHARE = 0.02
CONTEXT_SHARE = 0.1
JOINED_SHARE = 0.5
LONGEST = 12.0  # seconds of a turn
IGNORED = -100
WIDTH = 16


@dataclass
class Batch:
    """Utterances side by side, all padding on the right."""

    features: Tensor  # [B, mels, T], 0.0 beyond each clip
    frames: Tensor  # [B]
    ids: Tensor  # [B, L]
    slots: Tensor  # [B, L], audio row or -1
    labels: Tensor  # [B, L], the token that follows, or IGNORED
    rows: Tensor  # [B, N], the token that ends in a row, `<|audio_pad|>` or IGNORED
    phones: Tensor  # [B, N * PHONE_SLOTS], the phone or IGNORED


@dataclass(frozen=True)
class Example:
    """One utterance of a batch."""

    mel: speech.Wave
    text: str
    ids: list[int]
    rows: NDArray[np.int64]
    phones: NDArray[np.int64]


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


class Batches(IterableDataset[Batch]):
    """An endless stream of batches of similar length, decided by the seed and the step."""

    def __init__(self, folder: Path, tokenizer_folder: Path, size: int, seed: int, step: int):
        self.folder = folder
        self.tokenizer_folder = tokenizer_folder
        self.size = size
        self.seed = seed
        self.step = step

    def order(self, lengths: list[int], epoch: int) -> list[list[list[int]]]:
        """Deal utterances into batches: shuffled, but neighbours in length share a batch.

        Some utterances are joined to the next one or two, so that long clips occur too.
        """
        random = Random(f"{self.seed} order {epoch}")
        indices = list(range(len(lengths)))
        random.shuffle(indices)
        turns, next_index = [], 0
        while next_index < len(indices):
            count = random.randint(2, 4) if random.random() < JOINED_SHARE else 1
            turn = indices[next_index : next_index + count]
            next_index += count
            while sum(lengths[index] for index in turn) > LONGEST * corpus.RATE:
                turn = turn[:-1]
            turns.append(turn)
        batches = []
        for start in range(0, len(turns), 32 * self.size):
            pool = turns[start : start + 32 * self.size]
            pool.sort(key=lambda turn: sum(lengths[index] for index in turn))
            groups = [pool[at : at + self.size] for at in range(0, len(pool), self.size)]
            batches += [group for group in groups if len(group) == self.size]
        random.shuffle(batches)
        return batches

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches from `step` on."""
        torch.set_num_threads(1)
        self.entries, self.waves = corpus.read(self.folder)
        self.tokenizer = text.load(self.tokenizer_folder)
        self.inventory = targets.inventory(self.entries)
        self.blank = text.identify(self.tokenizer, "<|audio_pad|>")
        lengths = [entry.samples for entry in self.entries]
        epoch, skipped = 0, self.step
        while True:
            batches = self.order(lengths, epoch)
            for number, group in enumerate(batches[skipped:], skipped):
                yield self.collate(group, Random(f"{self.seed} batch {epoch} {number}"))
            skipped = max(0, skipped - len(batches))
            epoch += 1

    def wave(self, index: int) -> speech.Wave:
        """Read one clean wave."""
        entry = self.entries[index]
        part = self.waves[entry.start : entry.start + entry.samples]
        return part.astype(np.float32) / np.float32(32768)

    def example(self, turn: list[int], random: Random) -> Example:
        """Make the features and the targets of the utterances of one turn."""
        factor, where = random.uniform(0.88, 1.13), speech.condition(random)
        pause = self.inventory["_"]
        waves, times, names, ends = [], [0.0], [pause], []
        now = 0.0
        for index in turn:
            entry = self.entries[index]
            gap = np.zeros(int(random.uniform(0, 0.4) * corpus.RATE), np.float32)
            now += len(gap) / corpus.RATE
            ends += [now + time / factor for time in targets.word_ends(entry)]
            times += [now + time / factor for time, _ in entry.phones]
            names += [self.inventory[phone] for _, phone in entry.phones]
            waves += [gap, stretch(self.wave(index), factor)]
            now += len(waves[-1]) / corpus.RATE
        waves.append(np.zeros(int(random.uniform(0, 0.3) * corpus.RATE), np.float32))
        wave, words = np.concatenate(waves), " ".join(self.entries[at].text for at in turn)
        if random.random() < SILENT_SHARE:
            wave, words, times, names = np.full_like(wave, 1e-4), "", [0.0], [pause]
            where = speech.Condition(noise=random.choice(("white", "pink")), peak=where.peak)
        babble = [self.wave(random.randrange(len(self.entries))) for _ in range(6)]
        wave = speech.record(wave, corpus.RATE, where, random, babble)
        mel = mask(features.log_mel(wave, AUDIO.num_mel_bins), random)
        count, said = AUDIO.rows(mel.shape[1]), self.tokenizer.encode(words)
        rows = targets.token_rows(words, said, ends, count, self.blank)
        phones = targets.phone_slots(times, names, count)
        return Example(mel, words, said.ids, rows, phones)

    def collate(self, group: list[list[int]], random: Random) -> Batch:
        """Make one batch."""
        examples = [self.example(turn, random) for turn in group]
        ids, slots, labels = [], [], []
        stop = text.identify(self.tokenizer, "<|im_end|>")
        for example in examples:
            context = ""
            if random.random() < CONTEXT_SHARE:
                pool = (example.text + " " + self.entries[random.choice(group)[0]].text).split()
                context = " ".join(random.sample(pool, min(len(pool), random.randint(1, 4))))
            start = text.prompt(self.tokenizer, len(example.rows), context)
            reply = text.prefix("English" if example.text else "None")
            tail = [*self.tokenizer.encode(reply).ids, *example.ids, stop]
            whole = np.array(start + tail)
            ids.append(whole)
            slots.append(np.where(whole == self.blank, np.cumsum(whole == self.blank) - 1, -1))
            labels.append(np.array([IGNORED] * (len(start) - 1) + tail + [IGNORED]))
        frames = torch.tensor([example.mel.shape[1] for example in examples])
        chunks = -(-int(frames.max()) // AUDIO.chunk)
        padded = torch.zeros(len(examples), AUDIO.num_mel_bins, chunks * AUDIO.chunk)
        for row, example in enumerate(examples):
            padded[row, :, : example.mel.shape[1]] = torch.from_numpy(example.mel)
        width = chunks * AUDIO.chunk_rows
        length = -(-max(len(row) for row in ids) // WIDTH) * WIDTH
        return Batch(
            padded,
            frames,
            aligned(ids, length, 0),
            aligned(slots, length, -1),
            aligned(labels, length, IGNORED),
            aligned([example.rows for example in examples], width, IGNORED),
            aligned([example.phones for example in examples], width * PHONE_SLOTS, IGNORED),
        )


def aligned(rows: list[NDArray[np.int64]], width: int, fill: int) -> Tensor:
    """Stack rows of integers, filled on the right."""
    out = torch.full((len(rows), width), fill)
    for at, row in enumerate(rows):
        out[at, : len(row)] = torch.from_numpy(row.astype(np.int64))
    return out


def loader(folder: Path, tokenizer: Path, size: int, seed: int, step: int) -> Iterator[Batch]:
    """Stream batches from one worker process."""
    stream = Batches(folder, tokenizer, size, seed, step)
    return iter(DataLoader(stream, batch_size=None, num_workers=1, prefetch_factor=8))
