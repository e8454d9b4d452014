"""Run releases at their real size by their folders alone, each step in a separate process.

The folders have the names, shapes and dtypes of the releases in bfloat16, and random weights, which
are written once into the folder given: Qwen3-ASR-1.7B, 4.7 GB, and Gemma-4-E2B with its audio and
its vision tower, 10.2 GB. No manifest is written: a default one recognises them. The peak is the
highest resident memory of the whole process.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

from benchmarks.real_size import COMPOSER, measure_run, print_run, run_measured

BLOCK = 1 << 22  # numbers that are drawn, and then repeated
TASKS = {"qwen3-asr-1.7b": ("default",), "gemma-4-e2b": ("transcribe", "see")}
SIDE = 672  # pixels of the picture's sides


def main(arguments: list[str]) -> None:
    """Write missing folders, then check and run each."""
    parser = argparse.ArgumentParser(prog="scripts/bench releases", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the weights are, or are written")
    parser.add_argument("releases", nargs="*", metavar="RELEASE", help=f"of {', '.join(TASKS)}")
    parser.add_argument("--seconds", type=float, default=6.0, help="length of the clip")
    parser.add_argument("--tokens", type=int, default=8)
    options = parser.parse_args(arguments)
    unknown = [name for name in options.releases if name not in TASKS]
    if unknown:
        parser.error(f"there is no release {unknown[0]}; there are {', '.join(TASKS)}")
    for name in options.releases or TASKS:
        folder = options.folder.resolve() / name
        if not (folder / "clip.wav").exists():
            step = ["-m", "benchmarks.releases", "--write", name, str(folder)]
            print(run_measured("write the weights", step)[0], flush=True)
        write_clip = ["-m", "benchmarks.releases", "--clip", str(folder), str(options.seconds)]
        run_measured("write the clip", write_clip)
        print(run_measured(f"composer check {name}", ["-c", COMPOSER, "check", str(folder)])[0])
        for task in TASKS[name]:
            step = ["-m", "benchmarks.releases", "--run", task, str(folder), str(options.tokens)]
            length = None if task == "see" else options.seconds
            data, _ = measure_run(f"{name}, {task}", step, length)
            print(f"  {data['peak_load'] / 1e9:.2f} GB after loading", flush=True)


def write(name: str, folder: str) -> None:
    """Write a release with random weights, and a picture; its clip comes last."""
    import numpy as np
    from PIL import Image

    from tests import releases

    home = Path(folder)
    makers: dict[str, Callable[[], object]] = {
        "qwen3-asr-1.7b": lambda: releases.qwen3_asr(home, 2048, 6144),
        "gemma-4-e2b": lambda: releases.gemma4(home, "e2b", None),
    }
    home.mkdir(parents=True, exist_ok=True)
    makers[name]()
    for path in home.glob("*.safetensors"):
        fill(path)
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    Image.fromarray(pixels).save(home / "picture.png")
    clip(folder, "1")


def clip(folder: str, length: str) -> None:
    """Write a tone that comes and goes, which a detector of speech takes for it."""
    import numpy as np
    import soundfile

    from benchmarks.peers.models.model import clip as write_samples

    samples = np.load(write_samples(Path(folder), float(length)))
    soundfile.write(Path(folder) / "clip.wav", samples, 16_000)


def fill(path: Path) -> None:
    """Fill the holes of a bfloat16 checkpoint: norms are one, bounds far, the rest is random."""
    import numpy as np

    random = np.random.default_rng(0).standard_normal(BLOCK).astype(np.float32)
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        for name, tensor in header.items():
            if name == "__metadata__":
                continue
            shape, (begin, _) = tensor["shape"], tensor["data_offsets"]
            fixed = number_of(name)
            scale = prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.02
            values = np.full(BLOCK, fixed, np.float32) if fixed is not None else scale * random
            stored = (values.view(np.uint32) >> 16).astype(np.uint16)
            file.seek(8 + size + begin)
            for start in range(0, prod(shape), BLOCK):
                file.write(stored[: prod(shape) - start].tobytes())


def number_of(name: str) -> float | None:
    """Return what a whole tensor is, None for random numbers."""
    if name.endswith(("_min", "_max")):
        return -1e4 if name.endswith("_min") else 1e4
    return 1.0 if ("norm" in name and name.endswith("weight")) or "scalar" in name else None


def run(task: str, folder: str, tokens: str) -> None:
    """Run one task of a folder on its clip or its picture."""
    home = Path(folder)
    given: dict[str, Any] = {"audio": home / "clip.wav"}
    if task == "see":
        given = {"picture": [home / "picture.png"]}
    print_run(folder, task, int(tokens), **given)


if __name__ == "__main__":
    {"--write": write, "--clip": clip, "--run": run}[sys.argv[1]](*sys.argv[2:])
