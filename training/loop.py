"""The training loop that all networks share: AdamW, one cosine, checkpoints to go on from."""

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

WARM = 200  # steps in which the learning rate rises
SAVED_EVERY = 250
LOG_EVERY = 50


def parsed(
    parser: argparse.ArgumentParser, steps: int, size: int, of: str, peak: float
) -> argparse.Namespace:
    """Read the command line with the options that every training has, and prepare torch."""
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--size", type=int, default=size, help=f"{of} in a batch")
    parser.add_argument("--peak", type=float, default=peak, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    prepare(arguments.seed, arguments.threads)
    return arguments


def prepare(seed: int, threads: int) -> None:
    """Seed torch; use float32, but let products round their inputs to bfloat16.

    That is three times as fast on a CPU that has bfloat16 instructions.
    """
    torch.set_num_threads(threads)
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"  # type: ignore[attr-defined]
    torch.backends.mkldnn.conv.fp32_precision = "bf16"  # type: ignore[attr-defined]
    torch.manual_seed(seed)


def rate(step: int, steps: int, peak: float) -> float:
    """Give the learning rate of a step: a linear rise, then a cosine to nothing."""
    if step < WARM:
        return peak * (step + 1) / WARM
    return peak * 0.5 * (1 + math.cos(math.pi * min(1.0, (step - WARM) / max(1, steps - WARM))))


def optimizer(
    model: nn.Module, decay: float = 0.02, factors: Mapping[str, float] | None = None
) -> torch.optim.AdamW:
    """Decay the matrices only; `factors` slows down parameters with such a part in their name."""
    groups = []
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            slow = [factor for part, factor in (factors or {}).items() if part in name]
            weight_decay = decay if weight.ndim > 1 else 0.0
            groups.append((weight_decay, slow[0] if slow else 1.0, weight))
    kinds = sorted({(weight_decay, factor) for weight_decay, factor, _ in groups}, reverse=True)
    return torch.optim.AdamW(
        [
            {
                "params": [
                    weight for *kind, weight in groups if tuple(kind) == (weight_decay, factor)
                ],
                "weight_decay": weight_decay,
                "factor": factor,
            }
            for weight_decay, factor in kinds
        ],
        lr=1e-3,
        betas=(0.9, 0.98),
    )


class Loop:
    """Trains the parameters of one module that want gradients."""

    def __init__(
        self,
        module: nn.Module,
        checkpoint: Path,
        decay: float = 0.02,
        factors: Mapping[str, float] | None = None,
    ) -> None:
        """Go on from the checkpoint if there is one."""
        self.module = module
        self.checkpoint = checkpoint
        self.adam = optimizer(module, decay, factors)
        self.step = 0
        if checkpoint.exists():
            saved = torch.load(checkpoint)
            module.load_state_dict(saved["model"])
            self.adam.load_state_dict(saved["optimizer"])
            self.step = saved["step"]

    def run(
        self,
        losses: Callable[[], Mapping[str, Tensor]],
        weights: Mapping[str, float],
        steps: int,
        peak: float,
    ) -> None:
        """Minimize the weighted losses up to a step, and print their means as JSON lines."""
        began, sums = time.monotonic(), dict.fromkeys(weights, 0.0)
        while self.step < steps:
            for group in self.adam.param_groups:
                group["lr"] = rate(self.step, steps, peak) * group["factor"]
            parts = losses()
            total = torch.stack([weights[name] * part for name, part in parts.items()]).sum()
            total.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
            self.adam.step()
            self.adam.zero_grad()
            self.step += 1
            sums = {name: before + parts[name].item() for name, before in sums.items()}
            if self.step % LOG_EVERY == 0:
                means = {name: round(value / LOG_EVERY, 4) for name, value in sums.items()}
                minutes = round((time.monotonic() - began) / 60, 2)
                print(json.dumps({"step": self.step, **means, "minutes": minutes}), flush=True)
                sums = dict.fromkeys(weights, 0.0)
            if self.step % SAVED_EVERY == 0 or self.step == steps:
                self.save()

    def save(self) -> None:
        """Write the checkpoint, and only then let it replace the one before."""
        model, adam = self.module.state_dict(), self.adam.state_dict()
        part = self.checkpoint.with_suffix(".part")
        torch.save({"model": model, "optimizer": adam, "step": self.step}, part)
        part.replace(self.checkpoint)
