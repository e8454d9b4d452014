"""Transcribe by mlx-audio's Qwen3-ASR."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.peers.drivers.protocol import serve


def load(folder: str, ends: list[int], **_: Any) -> Callable[..., list[int]]:
    """Load a checkpoint with Qwen3-ASR's own names, strictly."""
    import numpy as np
    from mlx_audio.stt.utils import load_model

    model = load_model(Path(folder), strict=True)
    clips: dict[str, Any] = {}

    def run(tokens: int, clip: str) -> list[int]:
        if clip not in clips:
            clips[clip] = np.load(clip)
        found = []
        for token, _ in model.stream_generate(clips[clip], max_tokens=tokens):
            if int(token) in ends:
                break
            found.append(int(token))
        return found

    return run


if __name__ == "__main__":
    serve(load, "mlx", "mlx-audio")
