"""Check a bundle of 12 GB on a local Hub: what is transferred, and how long it takes.

The weights are sparse files that use nearly no disk. Loopback has almost no latency:
on a real network add a round trip for each printed request.
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from mirror import File, Mirror, Repository

WIDTH, LAYERS, SHARDS = 16_384, 12, 4
MANIFEST = """\
composer: 1
name: huge
sources: {own: ./}
components: {stack: {use: mlx.stack, weights: own/stack, config: {layers: [LAYERS]}}}
inputs: {x: {type: tensor, port: f32 N I}}
graph: {y: {run: stack, with: {x: $x}}}
outputs: {y: $y}
"""
CHECK = """\
import time
began = time.perf_counter()
from composer.cli import main
code = main(["check", "ann/huge"])
from composer.sources.hub.client import received_bytes
print(received_bytes(), time.perf_counter() - began, time.process_time())
raise SystemExit(code)
"""


def repository(folder: Path) -> Repository:
    """Create a bundle with 12.9 GB of weights in four sparse shards."""
    files: dict[str, bytes | File] = {
        "bundle.yaml": MANIFEST.replace("LAYERS", ", ".join(["linear"] * LAYERS)).encode()
    }
    places: dict[str, str] = {}
    for shard in range(SHARDS):
        name = f"model-{shard + 1:05}-of-{SHARDS:05}.safetensors"
        numbers = range(shard * LAYERS // SHARDS, (shard + 1) * LAYERS // SHARDS)
        shapes = {f"{n}.weight": [WIDTH, WIDTH] for n in numbers}
        shapes |= {f"{n}.bias": [WIDTH] for n in numbers}
        places |= dict.fromkeys(shapes, name)
        digest = f"{shard + 1:064x}"  # nobody downloads it, and hashing 12 GB takes a while
        files[f"stack/{name}"] = File(sparse(folder / name, shapes), True, digest)
    index = json.dumps({"weight_map": places}).encode()
    return Repository({**files, "stack/model.safetensors.index.json": index})


def sparse(path: Path, shapes: Mapping[str, list[int]]) -> Path:
    """Write the header of a safetensors file, without tensor data."""
    entries, at = {}, 0
    for name, shape in shapes.items():
        size = 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        entries[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    header = json.dumps(entries).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + at)
    return path


def main(arguments: list[str]) -> None:
    """Print bytes, requests and seconds of a first and a second check, imports included."""
    argparse.ArgumentParser(prog="scripts/bench hub").parse_args(arguments)
    with TemporaryDirectory() as place:
        folder = Path(place)
        with Mirror({"ann/huge": repository(folder)}) as mirror:
            environment = {
                **os.environ,
                "HF_ENDPOINT": mirror.url,
                "HF_HOME": str(folder / "hf"),
                "HF_HUB_OFFLINE": "0",
            }
            for run in ("first check", "next check"):
                mirror.requests.clear()
                done = subprocess.run(
                    [sys.executable, "-c", CHECK],
                    env=environment,
                    check=True,
                    capture_output=True,
                    text=True,
                )
                verdict, measured = done.stdout.strip().rsplit("\n", 1)
                received, wall, busy = measured.split()
                print(
                    f"{run}: {received} bytes of bodies, {len(mirror.requests)} requests, "
                    f"{float(wall):.2f} s, {float(busy):.2f} s of them busy"
                )
            print(verdict)
