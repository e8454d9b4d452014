"""Load and run Gemma-4-E4B's real size in a separate process, with its per-layer table mapped.

The weights are random and are written into the folder given, about 9.5 GB, of which 5.6 are the
bfloat16 table of per-layer inputs; attention and MLP have 4 bits. The peak is the resident memory
of the whole process. It may be 1.15 times the weights without the table, and 500 MB
for the libraries and the run.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from benchmarks.real_size import resident, run_measured

BITS, GROUP, BLOCK = 4, 64, 1 << 24
LAYERS, ROWS, WIDTH = 42, 262_144, 2560
ROPE = {
    "full_attention": {
        "rope_type": "proportional",
        "rope_theta": 1e6,
        "partial_rotary_factor": 0.25,
    },
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
}
CONFIG: dict[str, Any] = {
    "model_type": "gemma4_text",
    "hidden_size": WIDTH,
    "intermediate_size": 10240,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 256,
    "global_head_dim": 512,
    "num_kv_shared_layers": 18,
    "use_double_wide_mlp": False,
    "hidden_size_per_layer_input": 256,
    "vocab_size": ROWS,
    "sliding_window": 512,
    "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 7,
    "final_logit_softcapping": 30.0,
    "attention_k_eq_v": False,
    "max_position_embeddings": 131_072,
    "rope_parameters": ROPE,
    "eos_token_id": 1,
    "quantization": {"bits": BITS, "group_size": GROUP, "mode": "affine"},
}


def main(arguments: list[str]) -> None:
    """Write missing weights, then load them, look up rows and generate a few tokens."""
    parser = argparse.ArgumentParser(prog="scripts/bench gemma4", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the weights are, or are written")
    parser.add_argument("--tokens", type=int, default=2, help="tokens after a prompt of two ids")
    parser.add_argument("--precision", default="float32", help="what it runs in")
    options = parser.parse_args(arguments)
    folder = options.folder.resolve()
    if not (folder / "config.json").exists():
        line, *_ = run_measured(
            "write the weights", ["-m", "benchmarks.gemma4", "--write", str(folder)]
        )
        print(line, flush=True)
    step = ["-m", "benchmarks.gemma4", "--run", str(folder), options.precision, str(options.tokens)]
    line, report_data, peak = run_measured(f"load and run in {options.precision}", step)
    report(line, json.loads(report_data.splitlines()[-1]), peak)


def report(line: str, data: dict[str, Any], peak: int) -> None:
    """Print a run: its seconds, and its peak memory against the limit."""
    allowed = 1.15 * data["bytes"] + 500e6
    print(line)
    print(f"  table {data['table'] / 1e9:.2f} GB, mapped; weights {data['bytes'] / 1e9:.2f} GB")
    print(f"  load {data['load']:.1f} s, {data['tokens']} tokens {data['run']:.1f} s")
    rows = ", ".join(f"{name} {1e3 * spent:.1f} ms" for name, spent in data["rows"].items())
    print(f"  rows: {rows}")
    verdict = "within" if peak <= allowed else "ABOVE"
    print(
        f"  peak {peak / 1e9:.2f} GB ({data['peak_load'] / 1e9:.2f} after loading), "
        f"{verdict} {allowed / 1e9:.2f} GB"
    )


def write(folder: str, config: dict[str, Any] = CONFIG) -> None:
    """Write the weights piece by piece, config.json last."""
    from composer.components.checkpoints.packing import PROJECTIONS

    home = Path(folder)
    home.mkdir(parents=True, exist_ok=True)
    tensors: list[tuple[str, str, tuple[int, ...]]] = []
    for name, shape in decoder_shapes(config).items():
        path = name.removesuffix(".weight")
        if path.rpartition(".")[2] in PROJECTIONS:
            rows, columns = shape
            tensors.append((name, "U32", (rows, columns * BITS // 32)))
            tensors += [
                (f"{path}.{p}", "BF16", (rows, columns // GROUP)) for p in ("scales", "biases")
            ]
        else:
            tensors.append((name, "BF16", shape))
    header, end = {}, 0
    for name, dtype, shape in tensors:
        size = prod(shape) * (2 if dtype == "BF16" else 4)
        header[name] = {
            "dtype": dtype,
            "shape": shape,
            "data_offsets": [end, end + size],
        }
        end += size
    text = json.dumps(header).encode()
    with (home / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, dtype, shape in tensors:
            fill(file, name, dtype, shape)
    write_tokenizer(home)
    (home / "config.json").write_text(json.dumps(config))


def decoder_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a decoder's tensors by their names in a checkpoint."""
    from composer.components.checkpoints.gemma4.config import read_settings
    from composer.components.checkpoints.gemma4.layout import tensor_shapes

    settings, problems = read_settings(config, {})
    assert settings, problems
    shapes = tensor_shapes(settings).items()
    return {f"model.{name}": tuple(size.value for size in sizes) for name, sizes in shapes}


def fill(file: BinaryIO, name: str, dtype: str, shape: tuple[int, ...]) -> None:
    """Write one tensor, repeating a random block."""
    count = prod(shape)
    random = np.random.default_rng(len(name))
    if dtype == "U32":
        block = random.integers(0, 2**32, min(count, BLOCK), np.uint32)
    else:
        step = 1 / (4.6 * WIDTH**0.5)  # 4.6 is the deviation of 0 to 15
        fixed = {"scales": step, "biases": -7.5 * step, "layer_scalar": 1.0}.get(
            name.rpartition(".")[2]
        )
        if "norm" in name:
            fixed = 1.0
        size = min(count, BLOCK)
        random_values = random.normal(0, 0.02, size) if fixed is None else np.full(size, fixed)
        block = (random_values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    for start in range(0, count, BLOCK):
        block[: count - start].tofile(file)


def write_tokenizer(folder: Path) -> None:
    """Write a tokenizer of a few words."""
    from tokenizers import Tokenizer, models

    made = Tokenizer(models.WordLevel({f"w{id}": id for id in range(1000)}, unk_token="w0"))
    made.save(str(folder / "tokenizer.json"))


def run(folder: str, precision: str, tokens: str) -> None:
    """Load, look up rows cold and warm, and generate tokens; print seconds and bytes."""
    import mlx.core as mx

    from composer.components.mlx.gemma4 import MlxGemma4
    from composer.core.component import ComponentConfig, Spec
    from composer.core.location import Location
    from composer.core.placement import Placement
    from composer.formats import Headers

    began = time.perf_counter()
    home = Path(folder)
    spec = Spec("decoder", ComponentConfig(), Location("repo", "", home), precision=precision)
    facts = MlxGemma4.facts(spec, Headers())
    decoder = MlxGemma4.load(spec, facts, Placement())
    loaded, after_load = time.perf_counter(), resident(resource.getrusage(resource.RUSAGE_SELF))
    rows = time_rows(decoder, home / "model.safetensors")
    prompt, count = mx.array([2, 5]), int(tokens)
    began_run = time.perf_counter()
    stream = decoder.generate(decoder.embed(prompt), decoder.per_layer(prompt), max_tokens=count)
    made = len(list(stream))
    report_data = {
        "bytes": facts.nbytes,
        "table": 2 * ROWS * LAYERS * 256,
        "load": loaded - began,
        "peak_load": after_load,
        "rows": rows,
        "run": time.perf_counter() - began_run,
        "tokens": made,
    }
    print(json.dumps(report_data))


def time_rows(decoder: Any, path: Path) -> dict[str, float]:
    """Return the seconds to look up rows, after dropping the file's pages, and again."""
    import mlx.core as mx

    random, spent = np.random.default_rng(0), {}
    mx.eval(decoder.per_layer(mx.array([7])))
    for count in (1, 200):
        ids = mx.array(random.integers(0, ROWS, count))
        drop_pages(path)
        for name in ("cold", "warm"):
            began = time.perf_counter()
            mx.eval(decoder.per_layer(ids))
            spent[f"{count} {name}"] = time.perf_counter() - began
    return spent


def drop_pages(path: Path) -> None:
    """Drop a file's pages from memory, if the system supports it."""
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    {"--write": write, "--run": run}[sys.argv[1]](*sys.argv[2:])
