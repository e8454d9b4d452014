"""Train projector and LoRA to connect the frozen encoder and language model."""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from transformers import Gemma4ForCausalLM

from training import bpe, loop, targets
from training.elderwise import decoder, mels, rows, text
from training.elderwise.encoder import ROWS, SPEECH
from training.elderwise.train_encoder import row_slots
from training.elderwise.train_text import IGNORED, loss

WIDTH = 208  # between the projector's two linear layers
WEIGHTS = {"reply": 1.0, "words": 0.1}
FACTORS = {"lora_": 0.25}  # of the learning rate


def projector() -> nn.Sequential:
    """Make the release's stack; MLX has the same epsilons."""
    return nn.Sequential(
        nn.LayerNorm(SPEECH.text_hidden, eps=1e-5),
        nn.Linear(SPEECH.text_hidden, WIDTH),
        nn.SiLU(),
        nn.Linear(WIDTH, decoder.CONFIG["hidden_size"]),
        nn.RMSNorm(decoder.CONFIG["hidden_size"], eps=1e-5),
    )


def load_text(run: Path) -> Gemma4ForCausalLM:
    """Read the language model as it was before speech, with the weights that are shipped."""
    model = decoder.make()
    model.load_state_dict(torch.load(run / "decoder.pt", map_location="cpu")["model"])
    decoder.freeze(model)
    return model.eval()


@dataclass
class Batch:
    """Turns side by side."""

    rows: Tensor  # [B, ROWS, text_hidden]
    ids: Tensor  # [B, L]: the prompt with `<pad>` at its slots, then the reply
    labels: Tensor  # [B, L]
    words: Tensor  # [B, ROWS, SLOTS]: the tokens that end in a row, then `<pad>`


class Transcriber(nn.Module):
    """The language model with a projector in front and LoRA inside."""

    def __init__(self, model: Gemma4ForCausalLM, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.model = model
        self.head = len(tokenizer.encode(text.HEAD + text.BEGIN).ids)
        self.adapters = decoder.adapt(model)
        self.projector = projector()
        scale = decoder.CONFIG["hidden_size"] ** 0.5
        nn.init.constant_(
            self.projector[4].weight, scale * model.model.embed_tokens.weight[10:].std().item()
        )

    def logits(self, soft: Tensor, ids: Tensor) -> Tensor:
        """Predict from projected rows, which replace the embeddings of the prompt's slots."""
        embeds = self.model.model.embed_tokens(ids)
        after = embeds[:, self.head + ROWS :]
        embeds = torch.cat([embeds[:, : self.head], soft, after], dim=1)
        return decoder.logits(self.model, embeds, decoder.per_layer(self.model, ids))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Give the loss of the reply, and of rows that should resemble the words in them."""
        soft = self.projector(batch.rows)
        table = self.model.model.embed_tokens.weight
        likely = functional.log_softmax(soft @ table.T, dim=-1).gather(2, batch.words)
        spoken = batch.words != text.PAD
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.logits(soft, batch.ids).float()
        return {
            "reply": loss(logits, batch.labels),
            "words": -likely[spoken].mean(),
        }


def prompt(tokenizer: Tokenizer) -> list[int]:
    """Encode the release's prompt, with `<pad>` at every slot."""
    head: list[int] = tokenizer.encode(text.HEAD + text.BEGIN).ids
    tail: list[int] = tokenizer.encode(text.END + text.INSTRUCTION + text.TAIL).ids
    return [*head, *[text.PAD] * ROWS, *tail]


class Batches:
    """An endless stream of batches, decided by the step."""

    def __init__(self, folders: list[tuple[Path, Path]], tokenizer: Tokenizer, size: int) -> None:
        """Open pairs of folders: of the mels' index, and of the rows."""
        self.versions = [(mels.read(index)[0], rows.read(stored)) for index, stored in folders]
        self.tokenizer = tokenizer
        self.size = size
        self.start = prompt(tokenizer)

    def stream(self, step: int) -> Iterator[Batch]:
        """Yield batches from `step` on."""
        while True:
            random = Random(f"speech {step}")
            entries, stored = random.choice(self.versions)
            indices = sorted(random.sample(range(len(entries)), self.size))
            yield self.collate([entries[at] for at in indices], stored[indices])
            step += 1

    def collate(self, entries: list[mels.Entry], stored: rows.Floats) -> Batch:
        """Make one batch."""
        stop, tails, words = text.stop(self.tokenizer), [], []
        for entry in entries:
            encoding = self.tokenizer.encode(entry.text)
            tails.append([*encoding.ids, stop])
            ends = [
                (entry.ends[n], token) for n, token in targets.word_tokens(entry.text, encoding)
            ]
            words.append(torch.from_numpy(row_slots(ends, ROWS)))
        begin, width = len(self.start), max(map(len, tails))
        ids = torch.full((len(entries), begin + width), text.PAD)
        ids[:, :begin] = torch.tensor(self.start)
        labels = torch.full_like(ids, IGNORED)
        for at, tail in enumerate(tails):
            ids[at, begin : begin + len(tail)] = torch.tensor(tail)
            labels[at, begin - 1 : begin - 1 + len(tail)] = torch.tensor(tail)
        rows = torch.from_numpy(stored.astype(np.float32))
        return Batch(rows, ids, labels, torch.stack(words))


@torch.no_grad()
def transcribe(
    listener: Transcriber, tokenizer: Tokenizer, stored: Tensor, longest: int = 64
) -> list[str]:
    """Decode a batch of rows greedily."""
    start = torch.tensor(prompt(tokenizer)).expand(len(stored), -1)
    soft, ids, stop = listener.projector(stored), start, text.stop(tokenizer)
    ended = torch.zeros(len(stored), dtype=torch.bool)
    for _ in range(longest):
        token = listener.logits(soft, ids)[:, -1].argmax(-1)
        token[ended] = text.PAD
        ended |= token == stop
        ids = torch.cat([ids, token[:, None]], dim=1)
        if ended.all():
            break
    replies = ids[:, start.shape[1] :].tolist()
    texts: list[str] = tokenizer.decode_batch(replies)
    return texts


def main() -> None:
    """Train from the command line, going on from the last checkpoint if there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mels", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("run", type=Path, help="folder of the tokenizer and the checkpoints")
    arguments = loop.parsed(parser, 4000, 32, "turns", 2e-3)
    tokenizer = bpe.load(arguments.run)
    listener = Transcriber(load_text(arguments.run), tokenizer)
    training = loop.Loop(listener, arguments.run / "speech.pt", factors=FACTORS)
    folders = [(arguments.mels / path.name, path) for path in sorted(arguments.rows.iterdir())]
    stream = Batches(folders, tokenizer, arguments.size).stream(training.step)
    training.run(lambda: listener.losses(next(stream)), WEIGHTS, arguments.steps, arguments.peak)


if __name__ == "__main__":
    main()
