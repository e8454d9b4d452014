"""Decode one GGUF file of Qwen3, packed, by composer and by llama.cpp, in turns.

A prompt and its first token are timed apart from each further token. llama.cpp rounds what it
multiplies packed weights by to 8 bits, as composer does with `activations: int8` alone: how many
ids are the same is printed, and each repeats its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.peers.models import Model
from benchmarks.peers.peer import OURS, ROOT
from benchmarks.peers.table import (
    answer,
    count_same,
    describe,
    start_peer,
    timed_run,
    write_model,
)
from benchmarks.timing import in_turns, table

PEER = "llama.cpp"
VARIANTS = {"packed": "exact", "packed_int8": "activations: int8"}


def main(arguments: list[str]) -> None:
    """Write a file in each form, and print a table for it."""
    parser = argparse.ArgumentParser(prog="scripts/bench packed", description=__doc__)
    parser.add_argument("forms", nargs="*", default=["q4_0", "q8_0"], metavar="FORM")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--prompt", type=int, default=200, help="ids of the prompt")
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--real", action="store_true", help="Qwen3-0.6B's shape, 2.4 GB on disk")
    parser.add_argument("--folder", type=Path, help="where models are written, a temporary one")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        model = write_model("qwen3", Path(folder), options.real)
        for form in options.forms:
            file = model.checkpoint.with_suffix(".gguf")
            file.unlink(missing_ok=True)
            write = [sys.executable, "-m", "benchmarks.peers.gguf", model.checkpoint, file, form]
            subprocess.run(write, check=True, cwd=ROOT)
            size = file.stat().st_size
            print(f"-- {form}, {size / 1e9:.2f} GB: {model.shape} in float32", flush=True)
            for variant, title in VARIANTS.items():
                print(f"   {OURS}, {title}", flush=True)
                compare(model, variant, options, size)


def compare(model: Model, variant: str, options: argparse.Namespace, size: int) -> None:
    """Compare both in turns, by a prompt with one token and with all."""
    ids = np.random.default_rng(0).integers(2, 256, options.prompt).tolist()
    first, whole = ({"tokens": tokens, "ids": ids} for tokens in (1, options.tokens))
    with start_peer(OURS) as ours, start_peer(PEER) as peer:
        both = (ours, peer)
        answers = {it.name: answer(it, model, whole, variant) for it in both}
        ways: dict[str, Callable[[], None]] = {}
        for it in both:
            ways[prompt_of(it.name)] = timed_run(it, first, it.run(**first))
            ways[it.name] = timed_run(it, whole, answers[it.name])
        spent = in_turns(ways, options.turns)
        same = count_same(*answers.values())
        print(f"   the first {same} of {len(answers[OURS])} ids are the same")
        print(table({name: spent[prompt_of(name)] for name in answers}, OURS), "with the prompt")
        counts = {name: len(ids) - 1 for name, ids in answers.items()}
        tokens = {name: further_tokens(spent, name, counts[name]) for name in answers}
        print(table(tokens, OURS), "for each further token")
        rates = [f"{name} {size / median(times) / 1e9:.1f}" for name, times in tokens.items()]
        print(f"   GB of the file a second: {', '.join(rates)}; read alone {bandwidth() / 1e9:.1f}")
        for it in both:
            print(describe(it), flush=True)


def prompt_of(name: str) -> str:
    """Return what a run of one token is called."""
    return f"{name}, prompt"


def further_tokens(spent: Mapping[str, list[float]], name: str, count: int) -> list[float]:
    """Return the seconds of a token after the first, in each turn."""
    pairs = zip(spent[name], spent[prompt_of(name)], strict=True)
    return [(whole - prompt) / count for whole, prompt in pairs]


def bandwidth() -> float:
    """Return the bytes that all processors together read in a second, the best of five."""
    count = os.cpu_count() or 1
    parts = np.array_split(np.ones(1 << 27), count)  # 1 GiB
    seconds = []
    with ThreadPoolExecutor(count) as pool:
        for _ in range(5):
            began = time.perf_counter()
            list(pool.map(np.max, parts))
            seconds.append(time.perf_counter() - began)
    return sum(part.nbytes for part in parts) / min(seconds)
