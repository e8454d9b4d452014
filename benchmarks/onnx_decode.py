"""Decode the same MLX-quantized weights on ONNX Runtime and on MLX: compare ids, then time.

8-bit attention, 4-bit MLP and bfloat16 embeddings. With `--real FOLDER` they have the shape of
Qwen3-0.6B and are written there once, 0.7 GB; each way then runs in a separate process, which
also reports its peak memory.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.decode import mlx_lm
from benchmarks.real_size import run_measured
from benchmarks.timing import in_turns, table
from benchmarks.weights import Sizes, write_decoder, write_tokenizer

QWEN3 = Sizes(0, 0, 28, 1024, 3072, 16, 8, 128, 151_936, (8, 4))
LITTLE = Sizes(0, 0, 4, 256, 768, 4, 2, 64, 1024, (8, 4))
OURS, INT8, MLX = "composer onnx.lm", "composer onnx.lm, int8", "composer mlx.lm, float32"
BUNDLE = """
composer: 1
name: decode
sources: {repo: ./weights}
components: {decoder: {use: onnx.lm, weights: repo/mlx, files: repo/tokenizer}}
variants:
  int8: {components: {decoder: {config: {activations: int8}}}}
  mlx:  {components: {decoder: {use: mlx.lm, precision: float32}}}
inputs: {ids: ids}
graph:
  words:  {run: decoder.embed,    with: {ids: $ids}}
  answer: {run: decoder.generate, with: {embeds: $words, max_tokens: 64}}
outputs: {ids: $answer.ids}
"""
VARIANTS: dict[str, str | None] = {OURS: None, INT8: "int8", MLX: "mlx"}


def main(arguments: list[str]) -> None:
    """Compare the ways at the small size, or run each at the real size."""
    parser = argparse.ArgumentParser(prog="scripts/bench onnx-decode", description=__doc__)
    parser.add_argument("--prompt", type=int, default=64, help="ids of the prompt")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--turns", type=int, default=11)
    parser.add_argument("--real", type=Path, metavar="FOLDER", help="Qwen3-0.6B's shape, there")
    parser.add_argument("--mlx-tokens", type=int, default=4, help="of MLX at the real size")
    options = parser.parse_args(arguments)
    if options.real:
        real(options.real.resolve(), options.prompt, options.tokens, options.mlx_tokens)
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(write(Path(folder), LITTLE), options.prompt, options.tokens, options.turns)


def write(folder: Path, sizes: Sizes) -> Path:
    """Write missing weights, tokenizer and manifest, and return the manifest."""
    manifest = folder / "bundle.yaml"
    if not manifest.exists():
        write_decoder(folder / "weights/mlx", sizes)
        write_tokenizer(folder / "weights/tokenizer", sizes.vocabulary)
        manifest.write_text(BUNDLE.lstrip())
    return manifest


def compare(manifest: Path, prompt: int, tokens: int, turns: int) -> None:
    """Time all ways on the same ids, in turns; count the ids of int8 that differ."""
    import composer

    ids = np.random.default_rng(0).integers(0, 256, prompt)
    options = {"answer": {"max_tokens": tokens}}
    ways: dict[str, Callable[[], list[int]]] = {
        "mlx-lm generate_step, bfloat16": mlx_lm(manifest.parent / "weights/mlx", ids, tokens)
    }
    with ExitStack() as stack:
        for name, variant in VARIANTS.items():
            bundle = stack.enter_context(composer.load(manifest, variant=variant))

            def way(bundle: Any = bundle) -> list[int]:
                answer: list[int] = bundle.run(ids=ids, options=options).outputs["ids"].tolist()
                return answer

            ways[name] = way
        found = {name: way() for name, way in ways.items()}
        assert found[OURS] == found[MLX], "other ids"
        for name, answer in found.items():
            same = sum(a == b for a, b in zip(answer, found[OURS], strict=False))
            print(f"{name}: {same} of {len(found[OURS])} ids are those of {OURS}")
        print(table(in_turns(ways, turns), OURS))


def real(folder: Path, prompt: int, tokens: int, mlx_tokens: int) -> None:
    """Run each way in a separate process, and compare the ids."""
    manifest = write(folder, QWEN3)
    found: dict[str, list[int]] = {}
    for name, variant in VARIANTS.items():
        if variant == "mlx" and not mlx_tokens:
            continue
        count = mlx_tokens if variant == "mlx" else tokens
        step = ["--run", str(manifest), variant or "", str(prompt), str(count)]
        line, report_data, _ = run_measured(name, ["-m", "benchmarks.onnx_decode", *step])
        data = json.loads(report_data.splitlines()[-1])
        found[name] = data["ids"]
        print(line)
        print(
            f"  weights {data['bytes'] / 1e9:.2f} GB; loaded in {data['load']:.1f} s; first token "
            f"{data['first']:.2f} s, then {data['token'] * 1e3:.1f} ms each"
        )
    if MLX in found:
        assert found[MLX] == found[OURS][: len(found[MLX])], "other ids"
        print(f"{OURS} gave the same {len(found[MLX])} ids as {MLX}")


def run(manifest: str, variant: str, prompt: str, tokens: str) -> None:
    """Load, run, and print the seconds for the first and for each later token."""
    import composer

    ids = np.random.default_rng(0).integers(0, 256, int(prompt))
    began = time.perf_counter()
    bundle = composer.load(manifest, variant=variant or None)
    report_data: dict[str, Any] = {"load": time.perf_counter() - began}
    spent = {}
    for count in (1, 1, int(tokens)):  # the first is no measure of anything but first uses
        began = time.perf_counter()
        result = bundle.run(ids=ids, options={"answer": {"max_tokens": count}})
        spent[count] = time.perf_counter() - began
    report_data["bytes"] = sum(bundle.plan().nbytes.values())
    report_data["first"] = spent[1]
    report_data["ids"] = result.outputs["ids"].tolist()
    report_data["token"] = (spent[int(tokens)] - spent[1]) / max(len(report_data["ids"]) - 1, 1)
    bundle.close()
    print(json.dumps(report_data))


if __name__ == "__main__":
    {"--run": run}[sys.argv[1]](*sys.argv[2:])
