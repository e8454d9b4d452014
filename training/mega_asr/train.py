"""Train the miniature speech model on two cores."""

import argparse
from pathlib import Path

from torch import Tensor
from torch.nn import functional

from training import corpus, loop, targets
from training.mega_asr import data, text
from training.mega_asr.model import SpeechModel

WEIGHTS = {"reply": 1.0, "rows": 1.0, "phones": 0.5}


def losses(model: SpeechModel, batch: data.Batch) -> dict[str, Tensor]:
    """Give the cross-entropy of each task, per target."""
    logits = model(batch.features, batch.frames, batch.ids, batch.slots)
    tasks = {
        "reply": (logits.reply, batch.labels),
        "rows": (logits.rows, batch.rows),
        "phones": (logits.phones, batch.phones),
    }
    return {
        name: functional.cross_entropy(
            made.flatten(0, 1), wanted.flatten(), ignore_index=data.IGNORED
        )
        for name, (made, wanted) in tasks.items()
    }


def main() -> None:
    """Train from the command line, going on from the last checkpoint if there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("run", type=Path, help="folder of the tokenizer and the checkpoint")
    arguments = loop.parsed(parser, 4500, 24, "utterances", 2e-3)
    arguments.run.mkdir(parents=True, exist_ok=True)
    if not (arguments.run / "tokenizer.json").exists():
        text.build().save(str(arguments.run / "tokenizer.json"))
    model = SpeechModel(len(targets.inventory(corpus.read(arguments.corpus)[0])))
    training = loop.Loop(model, arguments.run / "checkpoint.pt")
    batches = data.loader(
        arguments.corpus, arguments.run, arguments.size, arguments.seed, training.step
    )
    training.run(lambda: losses(model, next(batches)), WEIGHTS, arguments.steps, arguments.peak)


if __name__ == "__main__":
    main()
