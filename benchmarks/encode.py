"""Encode 10 s of audio: a composer bundle with onnx.graph and plain ONNX Runtime."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.timing import in_turns, table
from benchmarks.weights import SMALL, write_bundle

BARE = "onnxruntime session"


def main(arguments: list[str]) -> None:
    """Compare the rows, then print the medians."""
    parser = argparse.ArgumentParser(prog="scripts/bench encode", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--turns", type=int, default=51)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        manifest = write_bundle(Path(folder), SMALL, "small", "random weights")
        compare(manifest, round(options.seconds * 100), options.turns)


def compare(manifest: Path, frames: int, turns: int) -> None:
    """Run the task `encode` and the same file directly."""
    import onnxruntime

    import composer

    mel = np.random.default_rng(0).standard_normal((128, frames), np.float32)
    file = manifest.parent / "weights/onnx/audio_encoder_fp32.onnx"
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    with composer.load(manifest, task="encode") as bundle:
        ways = {
            BARE: lambda: session.run(None, {"input_features": mel[None]})[0][0],
            "composer onnx.graph": lambda: bundle.run(task="encode", mel=mel).outputs["rows"],
        }
        one, other = (way() for way in ways.values())
        np.testing.assert_array_equal(one, other)
        print(f"{frames} frames to rows {list(one.shape)}, the same numbers")
        print(table(in_turns(ways, turns), BARE))
