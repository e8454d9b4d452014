"""Continue 1, 2, 4 and 8 texts at once by composer and by llama.cpp's server: tokens a second.

Both read one GGUF file. Prompts are read first, one of them after another, so a run of one token
for each is taken off a run of many. Each must repeat its own ids, whatever its company is.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.packed import FORMS, VARIANTS, write_form
from benchmarks.peers.models import Model
from benchmarks.peers.models.packed import QWEN3, write_packed_model
from benchmarks.peers.peer import OURS, Peer
from benchmarks.peers.table import answer, describe, start_peer, timed_run
from benchmarks.timing import in_turns, quartiles

BATCHES = (1, 2, 4, 8)
SERVER = "llama.cpp"


def main(arguments: list[str]) -> None:
    """Write the model in each form, and print a table for it."""
    parser = argparse.ArgumentParser(prog="scripts/bench packed-batch", description=__doc__)
    parser.add_argument("model", nargs="?", choices=QWEN3, default="qwen3-0.6b")
    parser.add_argument("--forms", nargs="*", choices=FORMS, default=FORMS)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--prompt", type=int, default=64, help="ids of each prompt")
    parser.add_argument("--tokens", type=int, default=33, help="of each text")
    parser.add_argument("--real", action="store_true", help="the published shape")
    parser.add_argument("--folder", type=Path, help="where models are written, a temporary one")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        model = write_packed_model(options.model, Path(folder), options.real)
        for form in options.forms:
            size = write_form(model, form)
            print(f"-- {options.model}, {form}, {size / 1e9:.2f} GB: {model.shape}", flush=True)
            for variant, name in VARIANTS.items():
                compare(model, variant, f"{OURS}, {name}", options)


def compare(model: Model, variant: str, label: str, options: argparse.Namespace) -> None:
    """Time both in turns, in each batch."""
    random = np.random.default_rng(0)
    prompts = random.integers(2, 256, (max(BATCHES), options.prompt)).tolist()
    with start_peer(OURS) as ours, start_peer(SERVER) as peer:
        one = {"tokens": options.tokens, "ids": prompts[0]}
        answer(ours, model, one, variant=variant)
        answer(peer, model, one, sequences=max(BATCHES))
        ways: dict[str, Callable[[], None]] = {}
        for it in (ours, peer):
            for count in BATCHES:
                for tokens in (1, options.tokens):
                    request = {"tokens": tokens, "prompts": prompts[:count]}
                    ways[key(it, count, tokens)] = timed_run(it, request, it.run(**request))
        spent = in_turns(ways, options.turns)
        found = {it.name: {count: rates(spent, it, count, options.tokens) for count in BATCHES}
                 for it in (ours, peer)}  # fmt: skip
        for count in BATCHES:
            mine, theirs = (found[it.name][count] for it in (ours, peer))
            gain = quartiles(a / b for a, b in zip(mine, found[OURS][1], strict=True))
            ratio = quartiles(a / b for a, b in zip(mine, theirs, strict=True))
            print(
                f"   {count} at once: {label}, {median(mine):6.1f} tokens/s, {gain} one; "
                f"{SERVER} {median(theirs):6.1f}, {label} / {SERVER} {ratio}",
                flush=True,
            )
        for it in (ours, peer):
            print(describe(it), flush=True)


def key(peer: Peer, count: int, tokens: int) -> str:
    """Return what a run is called."""
    return f"{peer.name}, {count} times {tokens}"


def rates(spent: dict[str, list[float]], peer: Peer, count: int, tokens: int) -> list[float]:
    """Return the tokens a second that follow the first ones, in each turn."""
    pairs = zip(spent[key(peer, count, tokens)], spent[key(peer, count, 1)], strict=True)
    return [count * (tokens - 1) / (whole - prompts) for whole, prompts in pairs]
