"""Continue 1, 2, 4 and 8 sequences at once with one decoder: tokens a second.

It is on ONNX Runtime, or on MLX with `--variant mlx`.

8-bit attention, 4-bit MLP and bfloat16 embeddings, random. With `--real FOLDER` they have the shape
of Qwen3-0.6B and are written there once, 0.7 GB. The batches take turns, so that other programs
slow all of them alike; the ids of each sequence are first compared with those that it has alone.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.onnx_decode import LITTLE, QWEN3, write
from benchmarks.timing import quartiles

BATCHES = (1, 2, 4, 8)


def main(arguments: list[str]) -> None:
    """Compare the batches at the small size, or at the real one."""
    parser = argparse.ArgumentParser(prog="scripts/bench batch", description=__doc__)
    parser.add_argument("--prompt", type=int, default=64, help="ids of the longest prompt")
    parser.add_argument("--tokens", type=int, default=4, help="of each sequence in a turn")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--variant", default=None, help="int8: rounds activations; mlx: on MLX")
    parser.add_argument("--real", type=Path, metavar="FOLDER", help="Qwen3-0.6B's shape, there")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        sizes = QWEN3 if options.real else LITTLE
        manifest = write(options.real.resolve() if options.real else Path(folder), sizes)
        compare(manifest, options)


def compare(manifest: Path, options: argparse.Namespace) -> None:
    """Print wall and processor time of a token in each batch, and what a batch gains."""
    import composer
    from composer.core.placement import Placement
    from composer.generation.decoder import DecoderInput
    from composer.runtime.profile import Profile

    profile = Profile(Placement(threads=options.threads))
    with composer.load(manifest, variant=options.variant, profile=profile) as bundle:
        bundle.load()
        decoder = bundle._components.by_name["decoder"]
        random = np.random.default_rng(0)
        prompts = []
        for number in range(max(BATCHES)):
            ids = random.integers(0, 256, options.prompt - 5 * number).tolist()
            prompts.append(DecoderInput(decoder.decoder.embed_tokens(ids)))
        groups = {
            count: [decoder.decoder.prefill(prompt) for prompt in prompts[:count]]
            for count in BATCHES
        }
        ids: dict[int, list[list[int]]] = {count: [] for count in BATCHES}
        wall: dict[int, list[float]] = {count: [] for count in BATCHES}
        busy: dict[int, list[float]] = {count: [] for count in BATCHES}
        for turn in range(options.turns + 1):
            for count in BATCHES[:: -1 if turn % 2 else 1]:
                began, worked = time.perf_counter(), time.process_time()
                for _ in range(options.tokens):
                    ids[count].append(step(decoder.decoder, groups[count]))
                if turn:
                    wall[count].append((time.perf_counter() - began) / options.tokens)
                    busy[count].append((time.process_time() - worked) / options.tokens)
    for count in BATCHES:
        alone = [tokens[:count] for tokens in ids[max(BATCHES)]]
        assert ids[count] == alone, "other ids"
    print("each batch gave the ids of the others")
    for count in BATCHES:
        gain, spent = (
            [count * one / all for one, all in zip(each[1], each[count], strict=True)]
            for each in (wall, busy)
        )
        print(
            f"{count} at once: {count / median(wall[count]):7.1f} tokens/s, {quartiles(gain)}; "
            f"{1e3 * median(busy[count]) / count:6.1f} ms of processor time each, "
            f"{quartiles(spent)}"
        )


def step(decoder: Any, states: list[Any]) -> list[int]:
    """Append the most probable token to each sequence."""
    tokens: list[int] = decoder.greedy(states)
    decoder.step(states, tokens)
    return tokens
