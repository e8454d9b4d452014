"""Batches: waves of the corpus, recorded anew in every epoch."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from training import corpus, features, speech, text
from training.model import AUDIO

SILENT_SHARE = 0.02
CONTEXT_SHARE = 0.1
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
    words: Tensor  # [B, W], the transcript alone, for CTC
    word_counts: Tensor  # [B]


def stretch(wave: speech.Wave, factor: float) -> speech.Wave:
    """Play a wave faster by a factor; pitch and formants move with it."""
    at = np.arange(0.0, len(wave) - 1, factor)
    return np.interp(at, np.arange(len(wave)), wave).astype(np.float32)


def mask(mel: np.ndarray, random: Random) -> np.ndarray:
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

    def order(self, lengths: list[int], epoch: int) -> list[list[int]]:
        """Deal utterances into batches: shuffled, but neighbours in length share a batch."""
        random = Random(f"{self.seed} order {epoch}")
        indices = list(range(len(lengths)))
        random.shuffle(indices)
        batches = []
        for start in range(0, len(indices), 32 * self.size):
            pool = sorted(indices[start : start + 32 * self.size], key=lambda i: lengths[i])
            groups = [pool[at : at + self.size] for at in range(0, len(pool), self.size)]
            batches += [group for group in groups if len(group) == self.size]
        random.shuffle(batches)
        return batches

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches from `step` on."""
        torch.set_num_threads(1)
        self.entries, self.waves = corpus.read(self.folder)
        self.tokenizer = text.load(self.tokenizer_folder)
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

    def example(self, index: int, random: Random) -> tuple[np.ndarray, str]:
        """Make the features and the transcript of one utterance."""
        where = speech.condition(random)
        words = self.entries[index].text
        wave = stretch(self.wave(index), random.uniform(0.88, 1.13))
        edges = (int(random.uniform(0, 0.3) * corpus.RATE) for _ in range(2))
        wave = np.pad(wave, tuple(edges))
        if random.random() < SILENT_SHARE:
            wave, words = wave * 0 + np.float32(1e-4), ""
            where = speech.Condition(noise=random.choice(("white", "pink")), peak=where.peak)
        babble = [self.wave(random.randrange(len(self.entries))) for _ in range(6)]
        wave = speech.record(wave, corpus.RATE, where, random, babble)
        return mask(features.log_mel(wave, AUDIO.num_mel_bins), random), words

    def collate(self, group: list[int], random: Random) -> Batch:
        """Make one batch."""
        mels, ids, slots, labels, targets = [], [], [], [], []
        audio = self.tokenizer.token_to_id("<|audio_pad|>")
        stop = self.tokenizer.token_to_id("<|im_end|>")
        for index in group:
            mel, words = self.example(index, random)
            context = ""
            if random.random() < CONTEXT_SHARE:
                pool = (words + " " + self.entries[random.choice(group)].text).split()
                context = " ".join(random.sample(pool, min(len(pool), random.randint(1, 4))))
            start = text.prompt(self.tokenizer, AUDIO.rows(mel.shape[1]), context)
            reply = text.prefix("English" if words else "None")
            said = self.tokenizer.encode(words).ids
            tail = [*self.tokenizer.encode(reply).ids, *said, stop]
            whole = start + tail
            at = np.cumsum(np.array(whole) == audio) - 1
            mels.append(mel)
            ids.append(whole)
            slots.append(np.where(np.array(whole) == audio, at, -1))
            labels.append([IGNORED] * (len(start) - 1) + tail + [IGNORED])
            targets.append(said)
        frames = torch.tensor([mel.shape[1] for mel in mels])
        longest = -(-int(frames.max()) // AUDIO.chunk) * AUDIO.chunk
        padded = torch.zeros(len(mels), AUDIO.num_mel_bins, longest)
        for row, mel in enumerate(mels):
            padded[row, :, : mel.shape[1]] = torch.from_numpy(mel)
        return Batch(
            padded,
            frames,
            aligned(ids, 0),
            aligned(slots, -1),
            aligned(labels, IGNORED),
            aligned(targets, 0),
            torch.tensor([len(said) for said in targets]),
        )


def aligned(rows: list, fill: int) -> Tensor:
    """Stack rows of ids, filled on the right; few widths keep the kernel cache small."""
    width = -(-max(1, *(len(row) for row in rows)) // WIDTH) * WIDTH
    out = torch.full((len(rows), width), fill)
    for at, row in enumerate(rows):
        out[at, : len(row)] = torch.as_tensor(np.asarray(row, dtype=np.int64))
    return out


def loader(folder: Path, tokenizer: Path, size: int, seed: int, step: int) -> Iterator[Batch]:
    """Stream batches from one worker process."""
    stream = Batches(folder, tokenizer, size, seed, step)
    return iter(DataLoader(stream, batch_size=None, num_workers=1, prefetch_factor=8))
