"""Train the miniature speech model on two cores."""

import argparse
import json
import math
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from training import corpus, data, targets, text
from training.model import SpeechModel

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


def rate(step: int, steps: int, peak: float) -> float:
    """Give the learning rate of a step: a linear rise, then a cosine to nothing."""
    warm = 200
    if step < warm:
        return peak * (step + 1) / warm
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, steps - warm))))


def optimizer(model: SpeechModel) -> torch.optim.AdamW:
    """Decay the matrices only."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": 0.02}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98))


def main() -> None:
    """Train from the command line, going on from the last checkpoint if there is one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("run", type=Path, help="folder of the tokenizer and the checkpoint")
    parser.add_argument("--steps", type=int, default=4500)
    parser.add_argument("--size", type=int, default=24, help="utterances in a batch")
    parser.add_argument("--peak", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    # float32 everywhere, but products round their inputs to bfloat16: three times as fast
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"  # type: ignore[attr-defined]
    torch.backends.mkldnn.conv.fp32_precision = "bf16"  # type: ignore[attr-defined]
    torch.manual_seed(arguments.seed)
    arguments.run.mkdir(parents=True, exist_ok=True)
    if not (arguments.run / "tokenizer.json").exists():
        text.build().save(str(arguments.run / "tokenizer.json"))
    model = SpeechModel(len(targets.inventory(corpus.read(arguments.corpus)[0])))
    adam = optimizer(model)
    checkpoint, step = arguments.run / "checkpoint.pt", 0
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        model.load_state_dict(saved["model"])
        adam.load_state_dict(saved["optimizer"])
        step = saved["step"]
    batches = data.loader(arguments.corpus, arguments.run, arguments.size, arguments.seed, step)
    began, sums = time.monotonic(), dict.fromkeys(WEIGHTS, 0.0)
    while step < arguments.steps:
        for group in adam.param_groups:
            group["lr"] = rate(step, arguments.steps, arguments.peak)
        parts = losses(model, next(batches))
        total = torch.stack([WEIGHTS[name] * part for name, part in parts.items()]).sum()
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        adam.zero_grad()
        step += 1
        sums = {name: before + parts[name].item() for name, before in sums.items()}
        if step % 50 == 0:
            means = {name: round(value / 50, 4) for name, value in sums.items()}
            minutes = round((time.monotonic() - began) / 60, 2)
            print(json.dumps({"step": step, **means, "minutes": minutes}), flush=True)
            sums = dict.fromkeys(WEIGHTS, 0.0)
        if step % 250 == 0 or step == arguments.steps:
            state = {"model": model.state_dict(), "optimizer": adam.state_dict(), "step": step}
            torch.save(state, checkpoint.with_suffix(".part"))
            checkpoint.with_suffix(".part").replace(checkpoint)


if __name__ == "__main__":
    main()
