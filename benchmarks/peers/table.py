"""Run composer and its peers in turns, on the same weights, to the same ids.

A peer is available once `benchmarks/peers/setup NAME` has installed it. Each is compared with
composer alone, so that at most two have the weights in memory. One that returns other ids, or
cannot load the weights, is reported and not timed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.peers.peer import OURS, Peer, Refused, python_of
from benchmarks.timing import in_turns, table

if TYPE_CHECKING:
    from benchmarks.peers.models import Model

PEERS = {
    "qwen3": ("mlx-lm", "transformers", "onnxruntime-genai", "llama.cpp"),
    "gemma4": ("mlx-lm", "mlx-vlm", "transformers", "llama.cpp"),
    "qwen3-asr": ("mlx-audio", "transformers"),
    "gemma4-audio": ("mlx-vlm", "transformers"),
}
TAKES_AUDIO = ("qwen3-asr", "gemma4-audio")
REAL = """published shapes: Qwen3-0.6B, 2.4 GB; Qwen3-ASR-0.6B, 3.1 GB; of Gemma-4-E2B, which
takes 18 GB, the widths and the vocabulary, but 4 layers of its 35, 3.5 GB, or 4.7 GB with its
audio tower"""


def main(arguments: list[str]) -> None:
    """Print a table for each requested model."""
    parser = argparse.ArgumentParser(prog="scripts/bench peers", description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(PEERS)}")
    parser.add_argument("--peers", nargs="*", metavar="PEER", help="these alone")
    parser.add_argument("--turns", type=int, default=21)
    parser.add_argument("--prompt", type=int, default=64, help="ids of a text prompt")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the clip")
    parser.add_argument("--variant", metavar="NAME", help="composer's variant: cpu, of text alone")
    parser.add_argument("--real", action="store_true", help=REAL)
    parser.add_argument("--folder", type=Path, help="where models are written, a temporary one")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.models if name not in PEERS]
    if unknown:
        parser.error(f"there is no model {unknown[0]}; there are {', '.join(PEERS)}")
    absent = {*(options.peers or ())} - {peer for peers in PEERS.values() for peer in peers}
    if absent:
        parser.error(f"there is no peer {min(absent)}")
    for name in options.models or PEERS:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            compare(name, Path(folder), options)


def compare(name: str, folder: Path, options: argparse.Namespace) -> None:
    """Write one model, load it in composer, and compare each peer with it."""
    import numpy as np

    from benchmarks.peers.models import clip

    model = write_model(name, folder, options.real)
    print(f"-- {name}: {model.shape}", flush=True)
    request: dict[str, Any] = {"tokens": options.tokens}
    if name in TAKES_AUDIO:
        request["clip"] = str(clip(folder, options.seconds))
    else:
        request["ids"] = np.random.default_rng(0).integers(2, 256, options.prompt).tolist()
    with start_peer(OURS) as ours:
        expected = answer(ours, model, request, variant=options.variant)
        assert expected
        label = f"{OURS} {options.variant}" if options.variant else OURS
        print(
            f"   {label} gives {len(expected)} ids ({len(set(expected))} different ones)",
            flush=True,
        )
        for other in PEERS[name]:
            if options.peers is None or other in options.peers:
                compare_peer(other, ours, model, request, expected, options.turns)
        print(describe(ours))


def write_model(name: str, folder: Path, real: bool) -> Model:
    """Write a model in a separate process, so that torch and the weights are freed."""
    from benchmarks.peers import models

    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(models.make, name, folder, real).result()


def compare_peer(
    name: str,
    ours: Peer,
    model: Model,
    request: Mapping[str, Any],
    expected: list[int],
    turns: int,
) -> None:
    """Time a peer whose ids match ours; report why another is not timed."""
    try:
        with start_peer(name) as peer:
            actual = answer(peer, model, request)
            if actual != expected:
                same = count_same(actual, expected)
                raise Refused(f"other ids after {same} of {len(expected)}: not timed")
            ways = {it.name: timed_run(it, request, expected) for it in (ours, peer)}
            print(table(in_turns(ways, turns), OURS))
            print(describe(peer), flush=True)
    except Refused as why:
        print(f"   {name}: {why}", flush=True)


def count_same(one: list[int], other: list[int]) -> int:
    """Return how many ids two answers begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def start_peer(name: str) -> Peer:
    """Start a process for a library."""
    python = python_of(name)
    if python is None:
        raise Refused(f"not installed: benchmarks/peers/setup {name}")
    return Peer(name, python)


def answer(peer: Peer, model: Model, request: Mapping[str, Any], **settings: Any) -> list[int]:
    """Load the model, or a variant of composer's bundle, and return the first answer.

    `precision` is what a peer packs float32 weights to, or computes in, `sequences` how many texts
    it has room for.
    """
    folder = model.bundle if peer.name == OURS else model.checkpoint
    folder = model.original if peer.name == "mlx-audio" else folder
    # How long a run becomes: llama.cpp takes the memory for it at once.
    length = len(request.get("ids", ())) + request["tokens"]
    peer.load(
        folder=str(folder),
        task=model.task,
        ends=list(model.ends),
        takes_audio="clip" in request,
        length=length,
        **settings,
    )
    return peer.run(**request)


def describe(peer: Peer) -> str:
    """Return a line with a process's versions and its peak memory."""
    versions = ", ".join(f"{package} {it}" for package, it in peer.versions.items())
    peak = f"; peak {peer.peak / 1e6:.0f} MB" if peer.peak else ""
    return f"   {peer.name}: {versions}{peak}"


def timed_run(peer: Peer, request: Mapping[str, Any], expected: list[int]) -> Callable[[], None]:
    """Return a run that raises Refused where the ids are other ones."""

    def run() -> None:
        if peer.run(**request) != expected:
            raise Refused(f"{peer.name} gave other ids at another time")

    return run


if __name__ == "__main__":
    main(sys.argv[1:])
