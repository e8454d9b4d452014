"""Decode by mlx-lm's own generate_step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.peers.drivers.protocol import serve


def load(
    folder: str, ends: list[int], precision: str | None = None, **_: Any
) -> Callable[..., list[int]]:
    """Load a checkpoint in float32, or pack its matrices in `4 bits` first."""
    import mlx.core as mx
    from mlx_lm.generate import generate_step
    from mlx_lm.utils import load_model, quantize_model

    model, config = load_model(Path(folder), lazy=True, strict=True)
    if precision:
        model, _config = quantize_model(model, config, 64, int(precision.split()[0]))
    model.set_dtype(mx.float32)

    def run(tokens: int, ids: list[int]) -> list[int]:
        found = []
        for token, _ in generate_step(mx.array(ids), model, max_tokens=tokens):
            if token in ends:
                break
            found.append(int(token))
        return found

    return run


if __name__ == "__main__":
    serve(load, "mlx", "mlx-lm")
