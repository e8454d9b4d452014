"""Decode packed weights by composer and by others, in turns.

llama.cpp and composer read one GGUF file. onnxruntime-genai packs the same weights in 4 bits by its
own builder, mlx-lm by its converter, and transformers takes them in bfloat16: these are compared
with q4_0. A prompt and its first token are timed apart from each further token. All round something
else, so how many ids are composer's is printed, and each repeats its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.peers.models import Model
from benchmarks.peers.models.packed import MODELS, write_packed_model
from benchmarks.peers.peer import OURS, ROOT, Refused
from benchmarks.peers.table import answer, count_same, describe, start_peer, timed_run
from benchmarks.timing import in_turns, table

FORMS = ("q4_0", "q8_0")
VARIANTS = {"packed": "exact", "packed_int8": "activations: int8"}
SAME_FILE = "llama.cpp", "llama.cpp-native"  # as a wheel has it, and compiled here
# What else is compared with q4_0, where the float32 weights are on disk: at which precision.
OTHERS = {"onnxruntime-genai": "int4", "transformers": "bfloat16", "mlx-lm": "4 bits"}
FEW = {"mlx-lm": 4}  # tokens, of one that takes seconds for each on a CPU


def main(arguments: list[str]) -> None:
    """Write each model in each form, and print a table for it."""
    parser = argparse.ArgumentParser(prog="scripts/bench packed", description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)}")
    parser.add_argument("--forms", nargs="*", choices=FORMS, default=FORMS)
    parser.add_argument("--peers", nargs="*", choices=[*SAME_FILE, *OTHERS], metavar="PEER")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--prompt", type=int, default=200, help="ids of the prompt")
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--real", action="store_true", help="published shapes, up to 7 GB on disk")
    parser.add_argument("--folder", type=Path, help="where models are written, a temporary one")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.models if name not in MODELS]
    if unknown:
        parser.error(f"there is no model {unknown[0]}; there are {', '.join(MODELS)}")
    for name in options.models or MODELS:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            model = write_packed_model(name, Path(folder), options.real)
            for form in options.forms:
                compare_form(name, model, form, options)


def compare_form(name: str, model: Model, form: str, options: argparse.Namespace) -> None:
    """Write the file, and compare each peer with composer as it is, and llama.cpp's with int8."""
    size = write_form(model, form)
    print(f"-- {name}, {form}, {size / 1e9:.2f} GB: {model.shape}", flush=True)
    for peer, variant, precision in comparisons(form, has_weights(model)):
        if options.peers is None or peer in options.peers:
            print(f"   {OURS}, {VARIANTS[variant]}, and {peer}, {precision}", flush=True)
            try:
                compare(model, (variant, peer, precision), options, size)
            except Refused as why:
                print(f"   {peer}: {why}", flush=True)


def write_form(model: Model, form: str) -> int:
    """Write the GGUF file that both read, and return its bytes."""
    file = model.checkpoint.with_suffix(".gguf")
    file.unlink(missing_ok=True)
    write = [sys.executable, "-m", "benchmarks.peers.gguf", model.checkpoint, file, form]
    subprocess.run(write + ["--random"] * (not has_weights(model)), check=True, cwd=ROOT)
    return file.stat().st_size


def has_weights(model: Model) -> bool:
    """Return whether the float32 weights are on disk."""
    return (model.checkpoint / "model.safetensors").exists()


def comparisons(form: str, in_floats: bool) -> Iterator[tuple[str, str, str]]:
    """Yield each peer, composer's variant that it is compared with, and the peer's precision."""
    for peer, variant in product(SAME_FILE, VARIANTS):
        yield peer, variant, form
    if form == "q4_0" and in_floats:
        for peer, precision in OTHERS.items():
            yield peer, "packed", precision


def compare(
    model: Model, which: tuple[str, str, str], options: argparse.Namespace, size: int
) -> None:
    """Compare both in turns, by a prompt with one token and with all."""
    variant, name, precision = which
    ids = np.random.default_rng(0).integers(2, 256, options.prompt).tolist()
    count = min(options.tokens, FEW.get(name, options.tokens))
    first, whole = ({"tokens": tokens, "ids": ids} for tokens in (1, count))
    with start_peer(OURS) as ours, start_peer(name) as peer:
        settings: dict[str, dict[str, Any]] = {
            OURS: {"variant": variant},
            name: {"precision": precision},
        }
        both = (ours, peer)
        answers = {it.name: answer(it, model, whole, **settings[it.name]) for it in both}
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
