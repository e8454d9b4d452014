"""Decode text by mlx-vlm, which loads the image tower as well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.peers.drivers.protocol import serve


def load(folder: str, ends: list[int], **_: Any) -> Callable[..., list[int]]:
    """Load a checkpoint in float32."""
    import mlx.core as mx
    from mlx_vlm.generate import generate_step
    from mlx_vlm.utils import load_model

    model = load_model(Path(folder))
    model.set_dtype(mx.float32)

    def run(tokens: int, ids: list[int]) -> list[int]:
        found = []
        steps = generate_step(
            mx.array([ids]), model, None, None, max_tokens=tokens, temperature=0.0
        )
        for token, _ in steps:
            if int(token) in ends:
                break
            found.append(int(token))
        return found

    return run


if __name__ == "__main__":
    serve(load, "mlx", "mlx-vlm")
