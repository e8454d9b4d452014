"""Decode by llama.cpp as it is compiled for this machine, from the same weights as GGUF.

llama-cpp-python comes as source, and is compiled with all that the processor has (`GGML_NATIVE`).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from benchmarks.peers.drivers.llama_cpp import gguf_file
from benchmarks.peers.drivers.protocol import serve


def load(folder: str, ends: list[int], length: int = 1024, **_: Any) -> Callable[..., list[int]]:
    """Load the GGUF file beside the checkpoint, as `llama_cpp.load` does."""
    import llama_cpp

    count = os.cpu_count() or 1
    model = llama_cpp.Llama(
        str(gguf_file(folder)), n_ctx=length, n_threads=count, n_threads_batch=count,
        type_k=llama_cpp.GGML_TYPE_F32, type_v=llama_cpp.GGML_TYPE_F32, flash_attn=False,
        verbose=False,
    )  # fmt: skip

    def run(tokens: int, ids: list[int]) -> list[int]:
        model.reset()  # nothing is kept from one run to the next
        found: list[int] = []
        for token in model.generate(ids, top_k=1, temp=0.0):
            if token in ends:
                break
            found.append(token)
            if len(found) == tokens:
                break
        return found

    return run


if __name__ == "__main__":
    serve(load, "llama-cpp-python", "gguf")
