"""Load MERaLiON-3's speech encoder at its real size and run it on 30 s, each in a process anew.

The weights are a block of random numbers over and over, written once into the folder given, in
float16: 32 layers of width 1280 and the adaptor from 19200 to 6400 to 3584, 1.7 GB. Each precision
is loaded whole; what runs has as many layers as is asked for, all of them by default.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from math import prod
from pathlib import Path

import numpy as np

from benchmarks.real_size import COMPOSER, measured, resident, seconds, write_noise

SIZES = {
    "mels": 128, "width": 1280, "ffn": 5120, "window": 1500, "joined": 19_200, "inner": 6400,
    "out": 3584, "3": 3,
}  # fmt: skip
BUNDLE = """
composer: 1
name: speech-encoder
summary: MERaLiON-3's shapes with random weights
sources: {repo: .}
components:
  features:
    use: audio.log_mel
    config: {mels: 128, pad: {seconds: 30, slices: 10}, frames: ceil, normalize: true}
  speech: {use: mlx.meralion, weights: repo/speech}
inputs: {audio: audio}
graph:
  mel:  {run: features, with: {audio: $audio}}
  rows: {run: speech, with: {mel: $mel}}
outputs: {rows: $rows}
"""


def main(arguments: list[str]) -> None:
    """Write what is not there, then check, load and run."""
    parser = argparse.ArgumentParser(prog="scripts/bench speech-encoder", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the weights are, or are written")
    parser.add_argument("--layers", type=int, default=32, help="layers that are loaded")
    parser.add_argument("--run-layers", type=int, help="layers that run; all where absent")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the noise")
    asked = parser.parse_args(arguments)
    folder = asked.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    clip = folder / f"noise-{asked.seconds:g}.wav"
    write_noise(clip, asked.seconds)
    running = asked.run_layers or asked.layers
    whole, few = (folder / f"{layers}-layers" for layers in (asked.layers, running))
    for place, layers in ((whole, asked.layers), (few, running)):
        if not (place / "bundle.yaml").exists():
            step = ["-m", "benchmarks.speech_encoder", "--write", str(place), str(layers)]
            print(measured(f"write {layers} layers", step)[0])
    print(measured("composer check", ["-c", COMPOSER, "check", str(whole / "bundle.yaml")])[0])
    for place, precision, audio in (
        (whole, "float16", "-"),
        (whole, "float32", "-"),
        (few, "float16", str(clip)),
        (few, "float32", str(clip)),
    ):
        step = ["--run", str(place / "bundle.yaml"), audio, precision]
        what = f"load {place.name} in {precision}" + ("" if audio == "-" else " and run")
        line, told, peak = measured(what, ["-m", "benchmarks.speech_encoder", *step])
        found = json.loads(told.splitlines()[-1])
        print(line)
        print(f"  weights {found['bytes'] / 1e9:.2f} GB, load {found['load']:.1f} s", end="")
        print(f", peak / weights {peak / found['bytes']:.2f}")
        if found["timings"]:
            print(f"  {found['rows']} rows; " + seconds(found["timings"]))


def write(folder: str, layers: str) -> None:
    """Write the bundle, one tensor after the other."""
    from composer.components.mlx.meralion_layout import stored_name, tensors

    shapes = {
        stored_name(name, published=True): [SIZES[size] for size in sizes.split()]
        for name, sizes in tensors(int(layers), small=False)
    }
    place = Path(folder)
    (place / "speech").mkdir(parents=True)
    header, end = {}, 0
    for name, shape in shapes.items():
        span = [end, end + 2 * prod(shape)]
        header[name], end = {"dtype": "F16", "shape": shape, "data_offsets": span}, span[1]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    drawn = np.random.default_rng(0).standard_normal(2**20, np.float32)
    with (place / "speech/model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            spread = prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.02
            norm = name.endswith("norm.weight") or name == "ln_speech.weight"
            block = (drawn * spread + norm).astype(np.float16)
            file.write(np.resize(block, prod(shape)).tobytes())
    config = {"speech_config": {"encoder_attention_heads": 20}}
    (place / "speech/config.json").write_text(json.dumps(config))
    (place / "bundle.yaml").write_text(BUNDLE.lstrip())


def run(manifest: str, clip: str, precision: str) -> None:
    """Load, and run unless the clip is '-'; print where seconds and bytes went."""
    import composer

    began = time.perf_counter()
    bundle = composer.load(manifest, precision={"speech": precision})
    told = {
        "bytes": sum(bundle.plan().nbytes.values()),
        "load": time.perf_counter() - began,
        "load_peak": resident(resource.getrusage(resource.RUSAGE_SELF)),
        "timings": {},
    }
    if clip != "-":
        result = bundle.run(audio=clip)
        told["timings"] = dict(result.timings)
        told["rows"] = len(result.outputs["rows"])
    bundle.close()
    print(json.dumps(told))


if __name__ == "__main__":
    {"--write": write, "--run": run}[sys.argv[1]](*sys.argv[2:])
