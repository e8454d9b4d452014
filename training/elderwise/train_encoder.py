"""Train the speech encoder on the synthesizer's labels: phones, words and their times."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from training import bpe, corpus, loop, targets, turns
from training.elderwise import mels, text
from training.elderwise.encoder import ROW_SECONDS, SPEECH, SpeechEncoder

IGNORED = -100
SLOTS = 3  # tokens that a row may name
WORD_STRIDE = 3  # positions from one word label to the next
TAIL = 25  # positions of silence beside a clip that still are to be named
ROW_FRAMES = 2 * SPEECH.speech_mlp_scale_factor
WEIGHTS = {"phones": 0.4, "words": 0.6, "rows": 1.0}


@dataclass
class Batch:
    """Turns side by side in one window, with silence after each."""

    mel: Tensor  # [B, mels, T]
    phones: Tensor  # [B, T / 2]
    words: Tensor  # [B, T / 6]: the token of the current word, or `<pad>`
    rows: Tensor  # [B, T / 30, SLOTS]: the tokens that end in a row, then `<pad>`


class Trained(nn.Module):
    """The encoder, and the heads that only training needs."""

    def __init__(self, phones: int) -> None:
        super().__init__()
        self.encoder = SpeechEncoder()
        self.phones = nn.Linear(SPEECH.d_model, phones)
        self.words = nn.Linear(SPEECH.d_model, text.VOCABULARY)
        self.rows = nn.Linear(SPEECH.text_hidden, SLOTS * text.VOCABULARY)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Give the cross-entropy of each task, per target."""
        with torch.autocast("cpu", torch.bfloat16):
            middle, top, rows = self.encoder.stages(batch.mel)
            named = self.rows(rows).unflatten(2, (SLOTS, -1)).flatten(1, 2)
            made = {
                "phones": (self.phones(middle), batch.phones),
                "words": (self.words(top[:, WORD_STRIDE // 2 :: WORD_STRIDE]), batch.words),
                "rows": (named, batch.rows.flatten(1)),
            }
        return {
            name: functional.cross_entropy(
                logits.flatten(0, 1).float(), wanted.flatten(), ignore_index=IGNORED
            )
            for name, (logits, wanted) in made.items()
        }


def row_slots(tokens: list[tuple[float, int]], count: int) -> NDArray[np.int64]:
    """Put each (second of its end, token) into the row in which it ends, or into the next."""
    rows = np.full((count, SLOTS), text.PAD)
    at, slot = 0, 0
    for end, token in tokens:
        row = max(at, min(int((end - 0.02) / ROW_SECONDS), count - 1))
        at, slot = (at, slot) if row == at else (row, 0)
        if slot == SLOTS:
            at, slot = at + 1, 0
        if at < count:
            rows[at, slot] = token
        slot += 1
    return rows


def word_labels(tokens: list[tuple[float, int]], begin: float, count: int) -> NDArray[np.int64]:
    """Return the word spoken in the middle of every third position."""
    middle = (np.arange(count) * WORD_STRIDE + WORD_STRIDE / 2) * mels.SLOT
    ends = np.array([0.0, *(end for end, _ in tokens)])
    token_ids = np.array([*(token for _, token in tokens), text.PAD])
    labels = token_ids[np.searchsorted(ends[1:], middle, side="right")]
    return np.where(middle < begin, text.PAD, labels)


class Batches:
    """An endless stream of batches of similar length, decided by the seed and the step."""

    def __init__(
        self, folders: list[Path], tokenizer: Tokenizer, size: int, full: float, pause: int
    ) -> None:
        self.versions = [mels.read(folder) for folder in folders]
        self.tokenizer = tokenizer
        self.size = size
        self.full = full
        self.pause = pause

    def order(self, epoch: int) -> list[list[int]]:
        """Deal turns into batches: shuffled, but neighbours in length share a batch."""
        entries = self.versions[epoch % len(self.versions)][0]
        random = Random(f"order {epoch}")
        indices = list(range(len(entries)))
        random.shuffle(indices)
        batches = []
        for start in range(0, len(indices), 32 * self.size):
            pool = indices[start : start + 32 * self.size]
            pool.sort(key=lambda index: entries[index].frames)
            groups = [pool[at : at + self.size] for at in range(0, len(pool), self.size)]
            batches += [group for group in groups if len(group) == self.size]
        random.shuffle(batches)
        return batches

    def stream(self, step: int) -> Iterator[Batch]:
        """Yield batches from `step` on."""
        epoch, skipped = 0, step
        while True:
            batches = self.order(epoch)
            for number, group in enumerate(batches[skipped:], skipped):
                yield self.collate(epoch, group, Random(f"batch {epoch} {number}"))
            skipped = max(0, skipped - len(batches))
            epoch += 1

    def window(self, frames: int, random: Random) -> int:
        """Draw a window: the whole one, or only somewhat longer than the clips, which is faster."""
        if random.random() < self.full:
            return mels.WINDOW
        wanted = frames + random.choice((0, 0, 0, 30, 90))
        return min(mels.WINDOW, -(-wanted // ROW_FRAMES) * ROW_FRAMES)

    def collate(self, epoch: int, group: list[int], random: Random) -> Batch:
        """Make one batch."""
        entries, stored, phones = self.versions[epoch % len(self.versions)]
        window = self.window(max(entries[index].frames for index in group), random)
        batch = Batch(
            torch.empty(len(group), mels.MELS, window),
            torch.full((len(group), window // 2), IGNORED),
            torch.full((len(group), window // 2 // WORD_STRIDE), IGNORED),
            torch.full((len(group), window // ROW_FRAMES, SLOTS), text.PAD),
        )
        for at, index in enumerate(group):
            entry = entries[index]
            mel = stored[entry.start : entry.start + entry.frames].T.astype(np.float32)
            batch.mel[at] = mels.floor(mel)
            batch.mel[at, :, : entry.frames] = torch.from_numpy(turns.mask(mel, random))
            half = entry.frames // 2
            named = torch.from_numpy(phones[entry.start // 2 : entry.start // 2 + half].astype(int))
            batch.phones[at, :half] = named
            batch.phones[at, half : half + TAIL] = self.pause
            tokens = self.tokens(entry)
            speech = named != self.pause
            begin = int(speech.int().argmax()) * mels.SLOT if speech.any() else 0.0
            count = min(batch.words.shape[1], (half + TAIL) // WORD_STRIDE)
            batch.words[at, :count] = torch.from_numpy(word_labels(tokens, begin, count))
            batch.rows[at] = torch.from_numpy(row_slots(tokens, batch.rows.shape[1]))
        return batch

    def tokens(self, entry: mels.Entry) -> list[tuple[float, int]]:
        """Give each token of a turn, and the second at which its word ends."""
        encoding = self.tokenizer.encode(entry.text)
        return [
            (entry.ends[number], token)
            for number, token in targets.word_tokens(entry.text, encoding)
        ]


def main() -> None:
    """Train from the command line, going on from the last checkpoint if there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("mels", type=Path)
    parser.add_argument("run", type=Path, help="folder of the tokenizer and the checkpoints")
    parser.add_argument("--versions", type=int, default=6, help="of the recordings, from 0 on")
    parser.add_argument("--full", type=float, default=0.08, help="share of whole windows")
    arguments = loop.parsed(parser, 3700, 32, "turns", 2e-3)
    arguments.run.mkdir(parents=True, exist_ok=True)
    if not (arguments.run / "tokenizer.json").exists():
        text.build().save(str(arguments.run / "tokenizer.json"))
    tokenizer = bpe.load(arguments.run)
    inventory = targets.inventory(corpus.read(arguments.corpus)[0])
    model = Trained(len(inventory))
    training = loop.Loop(model, arguments.run / "encoder.pt")
    folders = [arguments.mels / str(version) for version in range(arguments.versions)]
    batches = Batches(
        folders, tokenizer, arguments.size, arguments.full, inventory[turns.PAUSE]
    ).stream(training.step)
    training.run(lambda: model.losses(next(batches)), WEIGHTS, arguments.steps, arguments.peak)


if __name__ == "__main__":
    main()
