"""Decode by llama.cpp's server in this process, from the same weights as GGUF."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.peers.drivers.protocol import serve, until


def load(
    folder: str, ends: list[int], length: int = 1024, sequences: int = 1, **_: Any
) -> Callable[..., list[int]]:
    """Load the GGUF file beside the checkpoint, and write it first if it is missing.

    The server has room for so many sequences of a length, which it continues together.

    Keys and values are stored in float32, without flash attention, as in all drivers.
    """
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(gguf_file(folder))
    params.n_ctx = length * sequences
    params.n_parallel = sequences
    params.fit_params = False
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = os.cpu_count() or 1
    params.cache_ram_mib = params.n_ctx_checkpoints = 0  # nothing is kept from one run to the next
    server = xllamacpp.Server(params)
    request = {"temperature": 0.0, "top_k": 1, "cache_prompt": False}

    def run(
        tokens: int, ids: list[int] | None = None, prompts: list[list[int]] | None = None
    ) -> list[int]:
        if prompts:
            with ThreadPoolExecutor(len(prompts)) as pool:
                found = [*pool.map(partial(run, tokens), prompts)]
            return [token for each in found for token in each]
        answer = server.handle_completions({"prompt": ids, "n_predict": tokens, **request})
        if "choices" not in answer:
            raise RuntimeError(f"it answered {answer}")
        text = answer["choices"][0]["text"]
        return until([int(token) for token in re.findall(r"t(\d+)", text)], ends)

    return run


def gguf_file(folder: str) -> Path:
    """Return the GGUF file beside a checkpoint, which is written if it is missing."""
    path = Path(folder).with_name(f"{Path(folder).name}.gguf")
    if not path.exists():
        # In a process of its own: what writing takes is not what running takes.
        writer = [sys.executable, "-m", "benchmarks.peers.gguf", folder, str(path)]
        done = subprocess.run(writer, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"no GGUF file: {done.stderr.strip().splitlines()[-1]}")
    return path


if __name__ == "__main__":
    serve(load, "xllamacpp", "gguf")
