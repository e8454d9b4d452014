"""Decode by onnxruntime-genai, from a model exported by its own builder, float32 or int4."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.peers.drivers.protocol import serve, until


def load(
    folder: str, ends: list[int], precision: str = "fp32", **_: Any
) -> Callable[..., list[int]]:
    """Load a checkpoint's export beside it, and export it first if missing."""
    import onnxruntime_genai as og

    made = Path(folder).with_name(f"{Path(folder).name}-genai-{precision}")
    if not (made / "genai_config.json").exists():
        builder = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", folder]
        builder += ["-o", str(made), "-p", precision, "-e", "cpu", "-c", str(made / "cache")]
        done = subprocess.run(builder, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"its builder failed: {done.stderr.strip().splitlines()[-1]}")
    model = og.Model(str(made))

    def run(tokens: int, ids: list[int]) -> list[int]:
        params = og.GeneratorParams(model)
        params.set_search_options(max_length=len(ids) + tokens, do_sample=False)
        generator = og.Generator(model, params)
        generator.append_tokens(ids)
        while not generator.is_done():
            generator.generate_next_token()
        return until([int(token) for token in generator.get_sequence(0)][len(ids) :], ends)

    return run


if __name__ == "__main__":
    serve(load, "onnxruntime-genai")
