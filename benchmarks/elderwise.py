"""Run Elderwise at its real size, from a clip to a text, in a separate process.

MERaLiON-3's encoder and adaptor in float16, 32 layers, 1.7 GB; the projector from 3584 to 2560 in
float32; Gemma-4-E4B with attention and MLP in 4 bits and the rest in bfloat16, 9.3 GB, of which 5.6
are the table that stays in its file; and an adapter of rank 16 on every projection, which is on.
The numbers are random and are written once into the folder given.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from benchmarks import gemma4, gemma4_decode, speech_encoder
from benchmarks.real_size import COMPOSER, measure_run, print_run, run_measured, write_noise
from benchmarks.weights import write_tokenizer

WIDTHS = 3584, 3072, 2560  # of the adaptor, inside the projector, and of the decoder
BUNDLE = """\
composer: 1
name: elderwise
summary: Elderwise's shapes with random weights
sources: {repo: ./}
components:
  features:
    use: audio.log_mel
    config: {mels: 128, pad: {seconds: 30, slices: 10}, frames: ceil, normalize: true}
  speech: {use: meralion, weights: repo/encoder/speech, precision: float32}
  projector:
    use: stack
    weights: repo/projector
    config: {layers: [layer_norm, linear, silu, linear, rms_norm]}
    emits: decoder.embed
  decoder:
    use: gemma4
    weights: repo/decoder
    files: repo/tokenizer
    precision: float32
    adapters: {speech: {weights: repo/lora}}
  prompt:
    use: text.prompt
    files: repo/tokenizer
    config: {slot: "<|audio_pad|>", template: "user\\n{speech}Transcribe the following audio:\\n"}
inputs: {audio: audio}
graph:
  mel:       {run: features,          with: {audio: $audio}}
  encoded:   {run: speech,            with: {mel: $mel}}
  soft:      {run: projector,         with: {x: $encoded}}
  asked:     {run: prompt,            with: {speech: $soft}}
  words:     {run: decoder.embed,     with: {ids: $asked.ids}}
  embeds:    {run: scatter,           with: {base: $words, at: $asked.slots, values: $soft}}
  text_ids:  {run: fill,              with: {ids: $asked.ids, at: $asked.slots, value: 0}}
  per_layer: {run: decoder.per_layer, with: {ids: $text_ids}}
  answer:
    run: decoder.generate
    with: {embeds: $embeds, per_layer: $per_layer, adapters: [speech], max_tokens: 128}
outputs: {text: $answer.text}
"""


def main(arguments: list[str]) -> None:
    """Write missing weights, then check and run."""
    parser = argparse.ArgumentParser(prog="scripts/bench elderwise", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the weights are, or are written")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of the noise")
    parser.add_argument("--tokens", type=int, default=30)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args(arguments)
    folder = options.folder.resolve()
    module = ["-m", "benchmarks.elderwise"]
    if not (folder / "bundle.yaml").exists():
        print(run_measured("write the weights", [*module, "--write", str(folder)])[0], flush=True)
    clip = folder / f"noise-{options.seconds:g}.wav"
    write_noise(clip, options.seconds)
    manifest = str(folder / "bundle.yaml")
    print(run_measured("composer check", ["-c", COMPOSER, "check", manifest])[0])
    for _ in range(options.runs):
        step = [*module, "--run", manifest, str(clip), str(options.tokens)]
        measure_run("load and run", step, options.seconds)


def write(folder: str) -> None:
    """Write the parts, and the manifest last."""
    from safetensors.numpy import save_file

    home = Path(folder)
    speech_encoder.write("meralion", str(home / "encoder"), "32")
    gemma4.write(str(home / "decoder"))
    gemma4_decode.write_adapter(home / "lora", gemma4.CONFIG)
    write_tokenizer(home / "tokenizer", gemma4.ROWS)
    encoded, inner, width = WIDTHS
    random = np.random.default_rng(1)
    (home / "projector").mkdir()
    tensors = {
        "layers.0.weight": np.ones(encoded),
        "layers.0.bias": np.zeros(encoded),
        "layers.1.weight": random.normal(0, encoded**-0.5, (inner, encoded)),
        "layers.1.bias": np.zeros(inner),
        "layers.3.weight": random.normal(0, inner**-0.5, (width, inner)),
        "layers.3.bias": np.zeros(width),
        "layers.4.weight": np.ones(width),
    }
    stored = {name: each.astype(np.float32) for name, each in tensors.items()}
    save_file(stored, home / "projector/projector.safetensors")
    (home / "bundle.yaml").write_text(BUNDLE)


def run(manifest: str, clip: str, tokens: str) -> None:
    """Run on a clip, and print seconds and bytes."""
    print_run(manifest, "default", int(tokens), audio=clip)


if __name__ == "__main__":
    {"--write": write, "--run": run}[sys.argv[1]](*sys.argv[2:])
