"""Train the miniature aligner's decoder on rows of a frozen encoder."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from training import loop
from training.aligner import data
from training.aligner.model import Aligner
from training.mega_asr.data import IGNORED
from training.mega_asr.model import ROW_SECONDS

WEIGHTS = {"times": 1.0, "rows": 0.5, "looks": 1.0}
NEAR = 1.0  # classes: how wide a time counts as almost right


def losses(model: Aligner, batches: Iterator[data.Batch]) -> dict[str, Tensor]:
    """Give the loss of each task, per target."""
    batch = next(batches)
    early, late, weights = model(batch.rows, batch.ids, batch.slots)
    wanted = data.classes(batch.times)
    marks = wanted != IGNORED
    scores = functional.log_softmax(late[marks], -1)
    distance = torch.arange(scores.shape[1]) - wanted[marks][:, None]
    soft = torch.softmax(-0.5 * (distance / NEAR) ** 2, -1)
    own = data.own_classes(batch.slots)
    # a row of audio stands one position after its number
    seconds = (batch.slots.float() + 0.5) * ROW_SECONDS
    off = (seconds[:, None, :] - batch.times[:, :, None]).abs()
    there = (off < ROW_SECONDS) & (batch.slots >= 0)[:, None, :]
    looks = (weights * there).sum(-1)[marks].clamp(min=1e-6)
    return {
        "times": -(soft * scores).sum(-1).mean(),
        "rows": functional.cross_entropy(early.flatten(0, 1), own.flatten(), ignore_index=IGNORED),
        "looks": -looks.log().mean(),
    }


def main() -> None:
    """Train from the command line, going on from the last checkpoint if there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=Path)
    parser.add_argument("run", type=Path, help="folder of the checkpoint")
    arguments = loop.parsed(parser, 3000, 24, "turns", 2e-3)
    arguments.run.mkdir(parents=True, exist_ok=True)
    model = Aligner()
    training = loop.Loop(model, arguments.run / "checkpoint.pt")
    stream = data.Batches(arguments.rows, arguments.size, arguments.seed)
    batches = stream.from_step(training.step)
    training.run(lambda: losses(model, batches), WEIGHTS, arguments.steps, arguments.peak)


if __name__ == "__main__":
    main()
