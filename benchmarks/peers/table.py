"""Run composer and its peers in turns, on the same weights and to the same ids.

A peer is there once `benchmarks/peers/setup NAME` has installed it. Each is held against composer
alone, so that no more than two hold the weights. What gives other ids, or cannot load the weights,
is told and not timed.
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
HEARS = ("qwen3-asr", "gemma4-audio")
REAL = """published shapes: Qwen3-0.6B, 2.4 GB; Qwen3-ASR-0.6B, 3.1 GB; of Gemma-4-E2B, which
takes 18 GB, the widths and the vocabulary, but 4 layers of its 35, 3.5 GB, or 4.7 GB with its
audio tower"""


def main(arguments: list[str]) -> None:
    """Print a table for each model that is asked for."""
    parser = argparse.ArgumentParser(prog="scripts/bench peers", description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(PEERS)}")
    parser.add_argument("--peers", nargs="*", metavar="PEER", help="these alone")
    parser.add_argument("--turns", type=int, default=21)
    parser.add_argument("--prompt", type=int, default=64, help="ids of a text prompt")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the clip")
    parser.add_argument("--variant", metavar="NAME", help="composer's variant: cpu, of the Qwen3s")
    parser.add_argument("--real", action="store_true", help=REAL)
    parser.add_argument("--folder", type=Path, help="where models are written, a temporary one")
    asked = parser.parse_args(arguments)
    unknown = [name for name in asked.models if name not in PEERS]
    if unknown:
        parser.error(f"there is no model {unknown[0]}; there are {', '.join(PEERS)}")
    absent = {*(asked.peers or ())} - {peer for peers in PEERS.values() for peer in peers}
    if absent:
        parser.error(f"there is no peer {min(absent)}")
    for name in asked.models or PEERS:
        with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
            compare(name, Path(folder), asked)


def compare(name: str, folder: Path, asked: argparse.Namespace) -> None:
    """Write one model, load it in composer, and hold each peer against that."""
    import numpy as np

    from benchmarks.peers.models import clip

    model = written(name, folder, asked.real)
    print(f"-- {name}: {model.shape}", flush=True)
    request: dict[str, Any] = {"tokens": asked.tokens}
    if name in HEARS:
        request["clip"] = str(clip(folder, asked.seconds))
    else:
        request["ids"] = np.random.default_rng(0).integers(2, 256, asked.prompt).tolist()
    with started(OURS) as ours:
        want = answer(ours, model, request, asked.variant)
        assert want
        mine = f"{OURS} {asked.variant}" if asked.variant else OURS
        print(f"   {mine} gives {len(want)} ids ({len(set(want))} different ones)", flush=True)
        for other in PEERS[name]:
            if asked.peers is None or other in asked.peers:
                hold(other, ours, model, request, want, asked.turns)
        print(described(ours))


def written(name: str, folder: Path, real: bool) -> Model:
    """Write a model in a process of its own, which takes torch and the weights with it."""
    from benchmarks.peers import models

    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(models.make, name, folder, real).result()


def hold(
    name: str,
    ours: Peer,
    model: Model,
    request: Mapping[str, Any],
    want: list[int],
    turns: int,
) -> None:
    """Time a peer whose ids are ours; tell why another is not timed."""
    try:
        with started(name) as peer:
            have = answer(peer, model, request)
            if have != want:
                pairs = enumerate(zip(have, want, strict=False))
                short = min(len(have), len(want))
                same = next((at for at, (one, two) in pairs if one != two), short)
                raise Refused(f"other ids after {same} of {len(want)}: not timed")
            ways = {it.name: _way(it, request, want) for it in (ours, peer)}
            print(table(in_turns(ways, turns), OURS))
            print(described(peer), flush=True)
    except Refused as why:
        print(f"   {name}: {why}", flush=True)


def started(name: str) -> Peer:
    """Start a process for a library, which is asked for nothing yet."""
    python = python_of(name)
    if python is None:
        raise Refused(f"not installed: benchmarks/peers/setup {name}")
    return Peer(name, python)


def answer(
    peer: Peer, model: Model, request: Mapping[str, Any], variant: str | None = None
) -> list[int]:
    """Load the model, or a variant of composer's bundle, and return the first answer."""
    folder = model.bundle if peer.name == OURS else model.checkpoint
    folder = model.original if peer.name == "mlx-audio" else folder
    # How long a run becomes: llama.cpp takes the memory for it at once.
    length = len(request.get("ids", ())) + request["tokens"]
    peer.load(
        folder=str(folder),
        task=model.task,
        ends=list(model.ends),
        hears="clip" in request,
        length=length,
        variant=variant,
    )
    return peer.run(**request)


def described(peer: Peer) -> str:
    """Return a line of a process's versions, and its peak."""
    versions = ", ".join(f"{package} {it}" for package, it in peer.versions.items())
    peak = f"; peak {peer.peak / 1e6:.0f} MB" if peer.peak else ""
    return f"   {peer.name}: {versions}{peak}"


def _way(peer: Peer, request: Mapping[str, Any], want: list[int]) -> Callable[[], None]:
    def run() -> None:
        if peer.run(**request) != want:
            raise Refused(f"{peer.name} gave other ids at another time")

    return run


if __name__ == "__main__":
    main(sys.argv[1:])
