"""Train the language model on text, before speech."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from training import bpe, loop
from training.elderwise import chat, decoder, text

IGNORED = -100
PLAIN_SHARE = 0.08  # sentences without a question
LATER_SHARE = 0.15  # conversations of two exchanges
WEIGHTS = {"reply": 1.0}


def example(tokenizer: Tokenizer, random: Random) -> tuple[list[int], list[int]]:
    """Make ids, and for each the one that is to follow or IGNORED; some have two exchanges."""
    if random.random() < PLAIN_SHARE:
        plain = [text.BOS, *tokenizer.encode(chat.sentence(random)).ids, text.EOS]
        return plain, [*plain[1:], IGNORED]
    ids: list[int] = []
    labels: list[int] = []
    for _ in range(2 if random.random() < LATER_SHARE else 1):
        message, reply = chat.exchange(random)
        start = text.turn(tokenizer, message) if not ids else text.later_turn(tokenizer, message)
        tail = [*tokenizer.encode(reply).ids, text.stop(tokenizer)]
        ids += [*start, *tail]
        labels += [*[IGNORED] * (len(start) - 1), *tail, IGNORED]
    return ids, labels


def batches(tokenizer: Tokenizer, size: int, step: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Stream ids and labels, padded on the right."""
    while True:
        random = Random(f"text {step}")
        examples = [example(tokenizer, random) for _ in range(size)]
        width = max(len(known) for known, _ in examples)
        ids = torch.full((size, width), text.PAD)
        labels = torch.full((size, width), IGNORED)
        for row, (known, wanted) in enumerate(examples):
            ids[row, : len(known)] = torch.tensor(known)
            labels[row, : len(known)] = torch.tensor(wanted)
        yield ids, labels
        step += 1


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Give the cross-entropy per target, computed only where there is one."""
    kept = labels != IGNORED
    return functional.cross_entropy(logits[kept], labels[kept])


def main() -> None:
    """Train from the command line, going on from the last checkpoint if there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the tokenizer and the checkpoints")
    arguments = loop.parsed(parser, 1400, 48, "exchanges", 3e-3)
    tokenizer = bpe.load(arguments.run)
    model = decoder.make()
    training = loop.Loop(model, arguments.run / "decoder.pt")
    stream = batches(tokenizer, arguments.size, training.step)

    def losses() -> dict[str, Tensor]:
        ids, labels = next(stream)
        with torch.autocast("cpu", torch.bfloat16):
            made = model(input_ids=ids, use_cache=False).logits
        return {"reply": loss(made.float(), labels)}

    training.run(losses, WEIGHTS, arguments.steps, arguments.peak)


if __name__ == "__main__":
    main()
