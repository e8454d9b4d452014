"""Run composer and its peers in turns, on the same weights and to the same ids.

A peer is there once `benchmarks/peers/setup NAME` has installed it. What gives other ids, or cannot
load the weights, is told and not timed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.timing import in_turns, table

ROOT = Path(__file__).parents[2]
PEERS = {
    "qwen3": ("mlx-lm", "transformers", "onnxruntime-genai", "llama.cpp"),
    "gemma4": ("mlx-lm", "mlx-vlm", "transformers"),
    "qwen3-asr": ("mlx-audio", "transformers"),
}
OURS = "composer"


class Refused(Exception):
    """A peer that cannot do what it is asked."""


@dataclass
class Peer:
    """A process in which one library holds one model."""

    name: str
    python: Path
    versions: Mapping[str, str] = field(default_factory=dict)
    peak: int | None = None

    def __post_init__(self) -> None:
        driver = self.name.replace("-", "_").replace(".", "_")
        self._child = subprocess.Popen(
            [self.python, "-m", f"benchmarks.peers.drivers.{driver}"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def load(self, **request: Any) -> None:
        """Load a model."""
        self.versions = self._ask(request)["versions"]

    def run(self, **request: Any) -> list[int]:
        """Return the ids that follow."""
        ids: list[int] = self._ask(request)["ids"]
        return ids

    def close(self) -> None:
        """End the process."""
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            assert pipe
            with suppress(BrokenPipeError):
                pipe.close()

    def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self._child.stdin
        assert self._child.stdout
        with suppress(BrokenPipeError):  # it ended, and how is told below
            self._child.stdin.write(json.dumps(request) + "\n")
            self._child.stdin.flush()
        line = self._child.stdout.readline()
        if not line:
            raise Refused(f"it ended with status {self._child.wait()}")
        answer: dict[str, Any] = json.loads(line)
        self.peak = answer["peak"]
        if "error" in answer:
            raise Refused(answer["error"])
        return answer


def python_of(name: str) -> Path | None:
    """Return the interpreter of an environment that is set up.

    Ours has no torch, as a user's has none; where it is not set up, the one for developing stands
    in, in which mlx-lm imports torch by way of transformers.
    """
    home = ROOT / ".venv/peers" / name
    if (home / "installed.txt").exists():
        return home / "bin/python"
    return ROOT / ".venv/bin/python" if name == OURS else None


def main(arguments: list[str]) -> None:
    """Print a table for each model that is asked for."""
    parser = argparse.ArgumentParser(prog="scripts/bench peers", description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(PEERS)}")
    parser.add_argument("--peers", nargs="*", metavar="PEER", help="these alone")
    parser.add_argument("--turns", type=int, default=21)
    parser.add_argument("--prompt", type=int, default=64, help="ids of a text prompt")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the clip")
    parser.add_argument("--real", action="store_true", help="Qwen3 in the shape of 0.6B, 2.4 GB")
    asked = parser.parse_args(arguments)
    unknown = [name for name in asked.models if name not in PEERS]
    if unknown:
        parser.error(f"there is no model {unknown[0]}; there are {', '.join(PEERS)}")
    absent = {*(asked.peers or ())} - {peer for peers in PEERS.values() for peer in peers}
    if absent:
        parser.error(f"there is no peer {min(absent)}")
    for name in asked.models or PEERS:
        with tempfile.TemporaryDirectory() as folder:
            print(f"-- {name}", flush=True)
            compare(name, Path(folder), asked)


def compare(name: str, folder: Path, asked: argparse.Namespace) -> None:
    """Load one model everywhere, hold the ids against each other, and time what agrees."""
    import numpy as np

    from benchmarks.peers import models

    request: dict[str, Any] = {"tokens": asked.tokens}
    if name == "qwen3-asr":
        model = models.qwen3_asr(folder)
        request["clip"] = str(models.clip(folder, asked.seconds))
    else:
        sizes = models.REAL if asked.real else models.SMALL
        model = models.qwen3(folder, sizes) if name == "qwen3" else models.gemma4(folder)
        request["ids"] = np.random.default_rng(0).integers(2, 256, asked.prompt).tolist()
    peers: dict[str, Peer] = {}
    try:
        want = _answer(OURS, model, name, request, peers)
        assert want
        print(f"   the same {len(want)} ids ({len(set(want))} different ones)")
        for other in PEERS[name]:
            if asked.peers is not None and other not in asked.peers:
                continue
            _hold(other, model, name, request, peers, want)
        ways = {key: _way(peer, request, want) for key, peer in peers.items()}
        print(table(in_turns(ways, asked.turns), OURS))
        for key, peer in peers.items():
            versions = ", ".join(f"{package} {it}" for package, it in peer.versions.items())
            peak = f"peak {peer.peak / 1e6:.0f} MB" if peer.peak else ""
            print(f"   {key}: {versions}; {peak}")
    finally:
        for peer in peers.values():
            peer.close()


def _answer(
    name: str, model: Any, what: str, request: Mapping[str, Any], peers: dict[str, Peer]
) -> list[int]:
    """Start a peer, load the model and return its first answer."""
    python = python_of(name)
    if python is None:
        raise Refused(f"not installed: benchmarks/peers/setup {name}")
    peer = peers[name] = Peer(name, python)
    folder = model.bundle if name == OURS else model.checkpoint
    folder = model.original if name == "mlx-audio" else folder
    hears = {"hears": True} if what == "qwen3-asr" else {}
    peer.load(folder=str(folder), task=model.task, ends=list(model.ends), **hears)
    return peer.run(**request)


def _hold(
    name: str,
    model: Any,
    what: str,
    request: Mapping[str, Any],
    peers: dict[str, Peer],
    want: list[int],
) -> None:
    """Keep a peer whose ids are ours; tell why another is not timed."""
    try:
        have = _answer(name, model, what, request, peers)
    except Refused as why:
        print(f"   {name}: {why}")
    else:
        if have == want:
            return
        pairs = enumerate(zip(have, want, strict=False))
        same = next((at for at, (one, two) in pairs if one != two), min(len(have), len(want)))
        print(f"   {name}: other ids after {same} of {len(want)}: not timed")
    if name in peers:
        peers.pop(name).close()


def _way(peer: Peer, request: Mapping[str, Any], want: list[int]) -> Callable[[], None]:
    def run() -> None:
        assert peer.run(**request) == want, f"{peer.name} gave other ids"

    return run


if __name__ == "__main__":
    main(sys.argv[1:])
