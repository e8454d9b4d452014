"""Run a bundle of composer, whose outputs have `ids`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.peers.drivers.protocol import serve


def load(folder: str, task: str, variant: str | None = None, **_: Any) -> Callable[..., list[int]]:
    """Load the bundle in a folder, or a variant of it."""
    import numpy as np

    import composer

    bundle = composer.load(folder, task=task, variant=variant)
    clips: dict[str, Any] = {}

    def run(
        tokens: int,
        ids: list[int] | None = None,
        clip: str | None = None,
        prompts: list[list[int]] | None = None,
    ) -> list[int]:
        options = {"answer": {"max_tokens": tokens}}
        if prompts:
            texts = [{"ids": np.array(each)} for each in prompts]
            results = bundle.map(texts, in_flight=len(texts), task=task, options=options)
            return [token for each in results for token in each.outputs["ids"].tolist()]
        given: dict[str, Any] = {"ids": np.array(ids)}
        if clip:
            if clip not in clips:
                clips[clip] = np.load(clip)
            given = {"audio": (clips[clip], 16_000)}
        result = bundle.run(task=task, options=options, **given)
        found: list[int] = result.outputs["ids"].tolist()
        return found

    return run


if __name__ == "__main__":
    serve(load, "mlx", "mlx-lm", "onnxruntime")
