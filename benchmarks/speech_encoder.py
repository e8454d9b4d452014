"""Load a speech encoder at its real size and run it on 30 s, each in a new process.

The weights are a repeated block of random numbers, written once into the folder given, in 16
bits. MERaLiON-3's are 32 layers of width 1280 and the adaptor from 19200 to 6400 to 3584, 1.7 GB;
Gemma-4's are 12 layers of width 1024 and the projection into E4B, 0.6 GB. Each precision is loaded
whole, on ONNX Runtime and NumPy float32 alone; what runs has as many layers as is asked for, all
of them by default.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.real_size import COMPOSER, resident, run_measured, seconds, write_noise

BUNDLE = """\
composer: 1
name: speech-encoder
summary: Real shapes with random weights
sources: {{repo: .}}
components:
  features: {features}
  speech: {{use: {use}, weights: repo/speech}}
inputs: {{audio: audio}}
graph:
  mel:  {{run: features, with: {{audio: $audio}}}}
  rows: {{run: speech, with: {{mel: $mel}}}}
outputs: {{rows: $rows}}
"""


@dataclass(frozen=True)
class Encoder:
    """An encoder's layers, its manifest entry, and the sizes of its tensors."""

    layers: int
    use: str
    features: str
    half: str
    config: dict[str, Any]
    sizes: dict[str, int]

    def shapes(self, layers: int) -> dict[str, list[int]]:
        """Return the shape of each tensor under its name in a file."""
        if self.use == "meralion":
            from composer.components.checkpoints.meralion.layout import stored_name, tensor_shapes

            wanted = {
                stored_name(name, published=True): sizes
                for name, sizes in tensor_shapes(layers, small=False)
            }
        else:
            from composer.components.checkpoints.gemma4_audio import layout

            wanted = dict(layout.tensor_shapes(layers, clipped=True))
        return {
            name: [int(size) if size.isdigit() else self.sizes[size] for size in sizes.split()]
            for name, sizes in wanted.items()
        }


ENCODERS = {
    "meralion": Encoder(
        32,
        "meralion",
        "{use: audio.log_mel, config: {mels: 128, pad: {seconds: 30, slices: 10}, frames: ceil, "
        "normalize: true}}",
        "float16",
        {"speech_config": {"encoder_attention_heads": 20}},
        {"mels": 128, "width": 1280, "ffn": 5120, "window": 1500, "joined": 19_200, "inner": 6400,
         "out": 3584},
    ),
    "gemma4": Encoder(
        12,
        "gemma4_audio",
        "{use: audio.usm_log_mel}",
        "bfloat16",
        {"audio_config": {}},
        {"first": 128, "second": 32, "joined": 1024, "width": 1024, "inner": 4096, "head": 128,
         "kernel": 5, "twice": 2048, "rows": 1536, "out": 2560},
    ),
}  # fmt: skip


def main(arguments: list[str]) -> None:
    """Write missing weights, then check, load and run."""
    parser = argparse.ArgumentParser(prog="scripts/bench speech-encoder", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the weights are, or are written")
    parser.add_argument("--encoder", choices=ENCODERS, default="meralion")
    parser.add_argument("--backend", choices=("mlx", "onnx", "numpy"), default="mlx")
    parser.add_argument("--layers", type=int, help="layers that are loaded; default: all")
    parser.add_argument("--run-layers", type=int, help="layers that run; default: all")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of the noise")
    options = parser.parse_args(arguments)
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    clip = folder / f"noise-{options.seconds:g}.wav"
    write_noise(clip, options.seconds)
    encoder = ENCODERS[options.encoder]
    loaded = options.layers or encoder.layers
    running = options.run_layers or loaded
    whole, few = (folder / f"{options.encoder}-{layers}-layers" for layers in (loaded, running))
    for place, layers in ((whole, loaded), (few, running)):
        if not (place / "bundle.yaml").exists():
            step = ["-m", "benchmarks.speech_encoder", "--write", options.encoder, str(place)]
            step.append(str(layers))
            print(run_measured(f"write {layers} layers", step)[0])
    print(run_measured("composer check", ["-c", COMPOSER, "check", str(whole / "bundle.yaml")])[0])
    precisions = (encoder.half, "float32") if options.backend == "mlx" else ("float32",)
    ways = [(place, precision, audio) for place, audio in ((whole, "-"), (few, str(clip)))
            for precision in precisions]  # fmt: skip
    for place, precision, audio in ways:
        step = ["--run", str(place / "bundle.yaml"), audio, precision, options.backend]
        what = f"load {place.name} in {precision}" + ("" if audio == "-" else " and run")
        line, report_data, peak = run_measured(what, ["-m", "benchmarks.speech_encoder", *step])
        found = json.loads(report_data.splitlines()[-1])
        print(line)
        print(f"  weights {found['bytes'] / 1e9:.2f} GB, load {found['load']:.1f} s", end="")
        print(f", peak / weights {peak / found['bytes']:.2f}")
        if found["timings"]:
            print(f"  {found['rows']} rows; " + seconds(found["timings"]))


def write(name: str, folder: str, layers: str) -> None:
    """Write the bundle, one tensor at a time; clipped layers have wide bounds."""
    encoder = ENCODERS[name]
    shapes = encoder.shapes(int(layers))
    place = Path(folder)
    (place / "speech").mkdir(parents=True)
    header, end = {}, 0
    for tensor, shape in shapes.items():
        span = [end, end + 2 * prod(shape)]
        kind = {"float16": "F16", "bfloat16": "BF16"}[encoder.half]
        header[tensor], end = {"dtype": kind, "shape": shape, "data_offsets": span}, span[1]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    random_values = np.random.default_rng(0).standard_normal(2**20, np.float32)
    with (place / "speech/model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor, shape in shapes.items():
            spread = prod(shape[1:]) ** -0.5 if len(shape) > 1 else 0.02
            norm = tensor.endswith("norm.weight") or tensor == "ln_speech.weight"
            block = random_values * spread + norm
            if not shape:
                block = np.full(1, 30.0 if tensor.endswith("max") else -30.0, np.float32)
            file.write(np.resize(_to_16_bit(block, encoder.half), prod(shape)).tobytes())
    (place / "speech/config.json").write_text(json.dumps(encoder.config))
    manifest = BUNDLE.format(features=encoder.features, use=encoder.use)
    (place / "bundle.yaml").write_text(manifest)


def _to_16_bit(block: np.ndarray, half: str) -> np.ndarray:
    """Convert float32 to 16 bits; bfloat16 is truncated, which is precise enough for noise."""
    if half == "float16":
        return block.astype(np.float16)
    return (block.view(np.uint32) >> 16).astype(np.uint16)


def run(manifest: str, clip: str, precision: str, backend: str) -> None:
    """Load, and run unless the clip is '-'; print seconds and bytes."""
    import composer

    began = time.perf_counter()
    bundle = composer.load(manifest, precision={"speech": precision}, backends={"speech": backend})
    report_data = {
        "bytes": sum(bundle.plan().nbytes.values()),
        "load": time.perf_counter() - began,
        "load_peak": resident(resource.getrusage(resource.RUSAGE_SELF)),
        "timings": {},
    }
    if clip != "-":
        result = bundle.run(audio=clip)
        report_data["timings"] = dict(result.timings)
        report_data["rows"] = len(result.outputs["rows"])
    bundle.close()
    print(json.dumps(report_data))


if __name__ == "__main__":
    {"--write": write, "--run": run}[sys.argv[1]](*sys.argv[2:])
