"""Batches: waves of the corpus, recorded again in every epoch."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Encoding
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from training import bpe, features, speech, targets, turns
from training.mega_asr import text
from training.mega_asr.model import AUDIO, PHONE_SLOTS, ROW_SECONDS

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


class Batches(IterableDataset[Batch]):
    """An endless stream of batches of similar length, decided by the seed and the step."""

    def __init__(self, folder: Path, tokenizer_folder: Path, size: int, seed: int, step: int):
        self.folder = folder
        self.tokenizer_folder = tokenizer_folder
        self.size = size
        self.seed = seed
        self.step = step

    def order(self, lengths: list[int], epoch: int) -> list[list[list[int]]]:
        """Deal utterances into batches: shuffled, but neighbours in length share a batch."""
        random = Random(f"{self.seed} order {epoch}")
        dealt = turns.deal(lengths, random, JOINED_SHARE, LONGEST)
        batches = []
        for start in range(0, len(dealt), 32 * self.size):
            pool = dealt[start : start + 32 * self.size]
            pool.sort(key=lambda turn: sum(lengths[index] for index in turn))
            groups = [pool[at : at + self.size] for at in range(0, len(pool), self.size)]
            batches += [group for group in groups if len(group) == self.size]
        random.shuffle(batches)
        return batches

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches from `step` on."""
        torch.set_num_threads(1)
        self.studio = turns.Studio(self.folder)
        self.tokenizer = bpe.load(self.tokenizer_folder)
        self.inventory = targets.inventory(self.studio.entries)
        self.blank = text.identify(self.tokenizer, "<|audio_pad|>")
        lengths = [entry.samples for entry in self.studio.entries]
        epoch, skipped = 0, self.step
        while True:
            batches = self.order(lengths, epoch)
            for number, group in enumerate(batches[skipped:], skipped):
                yield self.collate(group, Random(f"{self.seed} batch {epoch} {number}"))
            skipped = max(0, skipped - len(batches))
            epoch += 1

    def example(self, turn: list[int], random: Random) -> Example:
        """Make the features and the targets of the utterances of one turn."""
        made = self.studio.record(turn, random)
        mel = turns.mask(features.log_mel(made.wave, AUDIO.num_mel_bins), random)
        count, encoding = AUDIO.rows(mel.shape[1]), self.tokenizer.encode(made.text)
        rows = token_rows(made.text, encoding, made.ends, count, self.blank)
        times = [time for time, _ in made.phones]
        names = [self.inventory[phone] for _, phone in made.phones]
        slots = targets.phone_slots(times, names, count * PHONE_SLOTS, ROW_SECONDS / PHONE_SLOTS)
        return Example(mel, made.text, encoding.ids, rows, slots)

    def collate(self, group: list[list[int]], random: Random) -> Batch:
        """Make one batch."""
        examples = [self.example(turn, random) for turn in group]
        ids, slots, labels = [], [], []
        stop = text.identify(self.tokenizer, "<|im_end|>")
        for example in examples:
            context = ""
            if random.random() < CONTEXT_SHARE:
                pool = (
                    example.text + " " + self.studio.entries[random.choice(group)[0]].text
                ).split()
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


def token_rows(
    sentence: str, encoding: Encoding, ends: list[float], count: int, blank: int
) -> targets.Labels:
    """Put each token into the row in which its word ends, or into the next free one."""
    rows = np.full(count, blank)
    at = -1
    for number, token in targets.word_tokens(sentence, encoding):
        at = min(max(at + 1, int((ends[number] - 0.02) / ROW_SECONDS)), count - 1)
        rows[at] = token
    return rows


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
