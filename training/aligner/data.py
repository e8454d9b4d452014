"""Batches of encoded turns: rows, then each word with two marks."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from tokenizers import AddedToken, Tokenizer
from torch import Tensor

from training.aligner.model import CLASS_SECONDS, CLASSES
from training.bpe import identify
from training.mega_asr.data import IGNORED, aligned
from training.mega_asr.model import ROW_SECONDS

WIDTH = 16
MARK = "<timestamp>"
TOKENIZER = Path(__file__).parents[2] / "bundles/mega-asr-mini/tokenizer/tokenizer.json"


@dataclass
class Batch:
    """Turns side by side, all padding on the right."""

    rows: Tensor  # [B, N, D]
    ids: Tensor  # [B, L]
    slots: Tensor  # [B, L], a row or -1
    times: Tensor  # [B, L], seconds at a mark, or a negative number


def tokenizer() -> Tokenizer:
    """Return the tokenizer of mega-asr-mini with the mark added."""
    found = Tokenizer.from_file(str(TOKENIZER))
    found.add_tokens([AddedToken(MARK, special=False)])
    return found


class Batches:
    """An endless stream of batches of similar length, decided by the seed and the step."""

    def __init__(self, folder: Path, size: int, seed: int) -> None:
        lines = (folder / "index.jsonl").read_text().splitlines()
        self.entries = [json.loads(line) for line in lines]
        counts = [entry["rows"] for entry in self.entries]
        self.starts = np.cumsum([0, *counts])
        stored = np.fromfile(folder / "rows.f16", np.float16)
        self.rows = stored.reshape(-1, stored.size // int(self.starts[-1]))
        self.size, self.seed = size, seed
        self.tokenizer = tokenizer()
        self.words: dict[str, list[int]] = {}
        names = ("<|audio_start|>", "<|audio_pad|>", "<|audio_end|>", MARK)
        self.begin, self.pad, self.end, self.mark = (identify(self.tokenizer, n) for n in names)

    def from_step(self, step: int) -> Iterator[Batch]:
        """Yield batches from a step on."""
        epoch = 0
        while True:
            random = Random(f"{self.seed} order {epoch}")
            order = list(range(len(self.entries)))
            random.shuffle(order)
            groups = []
            for start in range(0, len(order), 32 * self.size):
                pool = sorted(order[start : start + 32 * self.size], key=self.length)
                groups += [pool[at : at + self.size] for at in range(0, len(pool), self.size)]
            random.shuffle(groups)
            for group in groups[step:]:
                yield self.collate(group)
            step = max(0, step - len(groups))
            epoch += 1

    def length(self, index: int) -> int:
        """Estimate the positions of a turn."""
        entry = self.entries[index]
        return int(entry["rows"]) + 5 * len(entry["spans"])

    def encode(self, word: str) -> list[int]:
        """Return the ids of a word, which stands without a space before it."""
        if word not in self.words:
            self.words[word] = self.tokenizer.encode(word).ids
        return self.words[word]

    def collate(self, group: list[int]) -> Batch:
        """Make one batch."""
        ids, slots, times = [], [], []
        for index in group:
            entry = self.entries[index]
            count = entry["rows"]
            whole = [self.begin, *[self.pad] * count, self.end]
            seconds = [-1.0] * len(whole)
            for word, span in zip(entry["text"].split(), entry["spans"], strict=True):
                pieces = self.encode(word)
                whole += [*pieces, self.mark, self.mark]
                seconds += [-1.0] * len(pieces) + (span or [-1.0, -1.0])
            ids.append(np.array(whole))
            slots.append(np.array([-1, *range(count), *[-1] * (len(whole) - 1 - count)]))
            times.append(np.array(seconds, np.float32))
        length = -(-max(map(len, ids)) // WIDTH) * WIDTH
        seconds_at = torch.full((len(group), length), -1.0)
        for row, each in enumerate(times):
            seconds_at[row, : len(each)] = torch.from_numpy(each)
        most = max(self.entries[index]["rows"] for index in group)
        rows = torch.zeros(len(group), most, self.rows.shape[1])
        for at, index in enumerate(group):
            found = self.rows[self.starts[index] : self.starts[index + 1]].astype(np.float32)
            rows[at, : len(found)] = torch.from_numpy(found)
        return Batch(rows, aligned(ids, length, 0), aligned(slots, length, -1), seconds_at)


def classes(times: Tensor) -> Tensor:
    """Return the class of each time, or IGNORED where there is none."""
    found = (times / CLASS_SECONDS).round().long().clamp(max=CLASSES - 1)
    return torch.where(times >= 0, found, IGNORED)


def own_classes(slots: Tensor) -> Tensor:
    """Return the class of the middle of each row of audio, or IGNORED for text."""
    middle = (slots.float() + 0.5) * ROW_SECONDS
    return torch.where(slots >= 0, classes(middle), IGNORED)
