"""Decode a Gemma-4 of E2B's widths on ONNX Runtime and on MLX: compare ids, then processor time.

Attention and MLP are in 4 bits, the rest in bfloat16. By default it has ten layers, five of which
share keys and values, 32,768 tokens and a low-rank adapter, and both backends run in turns in one
process. With `--whole` ONNX Runtime alone runs all 35 layers and 262,144 tokens, and reports its
peak memory. The weights are written once into the folder given, 0.6 or 6.7 GB.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.gemma4 import CONFIG, write
from benchmarks.real_size import run_measured
from benchmarks.timing import table

FULL, SLIDING = "full_attention", "sliding_attention"
E2B = CONFIG | {
    "hidden_size": 1536,
    "intermediate_size": 6144,
    "num_key_value_heads": 1,
    "num_hidden_layers": 35,
    "num_kv_shared_layers": 20,
    "use_double_wide_mlp": True,
    "layer_types": ([SLIDING] * 4 + [FULL]) * 7,
}
FEW = E2B | {
    "num_hidden_layers": 10,
    "num_kv_shared_layers": 5,
    "layer_types": ([SLIDING] * 4 + [FULL]) * 2,
    "vocab_size": 32_768,
}
RANK = 16
BUNDLE = """
composer: 1
name: decode
sources: {repo: ./}
components:
  decoder:
    use: gemma4
    weights: repo/lm
    precision: float32
    adapters: {speech: {weights: repo/speech}}
inputs: {ids: ids}
graph:
  words:     {run: decoder.embed,     with: {ids: $ids}}
  per_layer: {run: decoder.per_layer, with: {ids: $ids}}
  answer:    {run: decoder.generate,  with: {embeds: $words, per_layer: $per_layer, max_tokens: 64}}
outputs: {ids: $answer.ids}
"""
ONNX, MLX, ADAPTED = "onnx", "mlx", "onnx, adapter on"


def main(arguments: list[str]) -> None:
    """Write missing weights, then compare the backends or run one at its whole size."""
    parser = argparse.ArgumentParser(prog="scripts/bench gemma4-decode", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the weights are, or are written")
    parser.add_argument("--prompt", type=int, default=32, help="ids of the prompt")
    parser.add_argument("--tokens", type=int, default=8)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--whole", action="store_true", help="all layers, on ONNX Runtime alone")
    options = parser.parse_args(arguments)
    manifest = options.folder.resolve() / "bundle.yaml"
    if not manifest.exists():
        size = "whole" if options.whole else "few"
        step = ["-m", "benchmarks.gemma4_decode", "--write", str(manifest.parent), size]
        print(run_measured("write the weights", step)[0], flush=True)
    if options.whole:
        step = ["--run", str(manifest), str(options.prompt), str(options.tokens)]
        line, made, _ = run_measured("load and run", ["-m", "benchmarks.gemma4_decode", *step])
        print(line + "\n  " + made.splitlines()[-1])
        return
    compare(manifest, options.prompt, options.tokens, options.turns)


def write_bundle(folder: str, size: str) -> None:
    """Write the decoder, an adapter and a manifest."""
    home, config = Path(folder), E2B if size == "whole" else FEW
    write(str(home / "lm"), config)
    write_adapter(home / "speech", config)
    (home / "bundle.yaml").write_text(BUNDLE.lstrip())


def write_adapter(folder: Path, config: dict[str, Any]) -> None:
    """Write an adapter of every projection, as mlx-lm does."""
    from safetensors.numpy import save_file

    from composer.components.checkpoints.gemma4.config import read_settings
    from composer.components.checkpoints.gemma4.layout import tensor_shapes
    from composer.components.checkpoints.packing import PROJECTIONS

    settings, _ = read_settings(config, {})
    assert settings
    random, tensors = np.random.default_rng(0), {}
    for name, sizes in tensor_shapes(settings).items():
        path = name.removesuffix(".weight")
        if path.rpartition(".")[2] in PROJECTIONS:
            outputs, inputs = (size.value for size in sizes)
            for side, shape in (("a", (inputs, RANK)), ("b", (RANK, outputs))):
                values = random.normal(0, 0.02, shape).astype(np.float32)
                tensors[f"model.{path}.lora_{side}"] = values
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapters.safetensors")
    names = sorted({name.split(".")[-2] for name in tensors})
    about = {"lora_rank": RANK, "lora_scale": 2.0, "lora_target_names": names}
    (folder / "lora_config.json").write_text(json.dumps(about))


def compare(manifest: Path, prompt: int, tokens: int, turns: int) -> None:
    """Compare the ids of both backends, then their processor time for the prompt and a token."""
    import composer

    ids = np.random.default_rng(0).integers(0, 1000, prompt)
    with ExitStack() as stack:
        ways: dict[str, Callable[[int], list[int]]] = {}
        for name, backend, on in ((ONNX, "onnx", []), (ADAPTED, "onnx", ["speech"]),
                                  (MLX, "mlx", [])):  # fmt: skip
            bundle = stack.enter_context(composer.load(manifest, backends={"decoder": backend}))

            def way(count: int, bundle: Any = bundle, on: list[str] = on) -> list[int]:
                chosen = {"answer": {"max_tokens": count, "adapters": on}}
                answer = bundle.run(ids=ids, options=chosen).outputs["ids"]
                return [int(each) for each in answer]

            ways[name] = way
        found = {name: way(tokens) for name, way in ways.items()}
        assert found[ONNX] == found[MLX], f"other ids: {found}"
        assert found[ADAPTED] != found[ONNX]
        print(f"{prompt} ids, then the same {len(found[ONNX])} on both")
        first: dict[str, list[float]] = {name: [] for name in ways}
        each: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(turns):
            for name in list(ways)[:: -1 if turn % 2 else 1]:
                one, many = (seconds(ways[name], count) for count in (1, tokens))
                first[name].append(one)
                each[name].append((many - one) / (tokens - 1))
    print("processor time, the prompt and one token\n" + table(first, ONNX))
    print("processor time, each further token\n" + table(each, ONNX))


def seconds(way: Callable[[int], object], count: int) -> float:
    """Return the processor time of so many tokens, in all threads."""
    began = time.process_time()
    way(count)
    return time.process_time() - began


def run(manifest: str, prompt: str, tokens: str) -> None:
    """Load on ONNX Runtime, run, and print seconds and bytes."""
    import composer

    ids = np.random.default_rng(0).integers(0, 1000, int(prompt))
    began = time.perf_counter()
    bundle = composer.load(manifest, backends={"decoder": "onnx"})
    made: dict[str, Any] = {"load": time.perf_counter() - began}
    made["GB"] = sum(bundle.plan().nbytes.values()) / 1e9
    for on in ([], ["speech"]):
        spent: dict[int, list[tuple[float, float]]] = {1: [], int(tokens): []}
        for count in (1, 1, int(tokens), 1, int(tokens), 1, int(tokens)):
            wall, cpu = time.perf_counter(), time.process_time()
            bundle.run(ids=ids, options={"answer": {"max_tokens": count, "adapters": on}})
            spent[count].append((time.perf_counter() - wall, time.process_time() - cpu))
        for place, clock in enumerate(("wall", "processor")):
            first = median(each[place] for each in spent[1][1:])
            more = median(each[place] for each in spent[int(tokens)]) - first
            name = "adapter on" if on else "off"
            made[f"{name}, {clock}"] = {"first": first, "each": more / (int(tokens) - 1)}
    bundle.close()
    print(json.dumps(made))


if __name__ == "__main__":
    {"--run": run, "--write": write_bundle}[sys.argv[1]](*sys.argv[2:])
