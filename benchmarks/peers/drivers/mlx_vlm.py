"""Decode text or transcribe audio by mlx-vlm, which loads the image tower as well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.peers.drivers.protocol import GEMMA4_PROMPT, serve


def load(
    folder: str, ends: list[int], takes_audio: bool = False, **_: Any
) -> Callable[..., list[int]]:
    """Load a checkpoint in float32."""
    import mlx.core as mx
    import numpy as np
    from mlx_vlm.generate import generate_step
    from mlx_vlm.utils import load_model

    model = load_model(Path(folder))
    model.set_dtype(mx.float32)

    def generate(tokens: int, ids: Any, **given: Any) -> list[int]:
        found = []
        steps = generate_step(
            mx.array(ids), model, None, None, max_tokens=tokens, temperature=0.0, **given
        )
        for token, _ in steps:
            if int(token) in ends:
                break
            found.append(int(token))
        return found

    def decode(tokens: int, ids: list[int]) -> list[int]:
        return generate(tokens, [ids])

    if not takes_audio:
        return decode

    from mlx_vlm.models.gemma4.audio_feature_extractor import Gemma4AudioFeatureExtractor
    from mlx_vlm.models.gemma4.processing_gemma4 import Gemma4Processor
    from transformers import AutoTokenizer

    processor = Gemma4Processor(
        tokenizer=AutoTokenizer.from_pretrained(folder),
        feature_extractor=Gemma4AudioFeatureExtractor(),
    )
    clips: dict[str, Any] = {}

    def transcribe(tokens: int, clip: str) -> list[int]:
        if clip not in clips:
            clips[clip] = np.load(clip)
        made = processor(text=GEMMA4_PROMPT.format(audio="<|audio|>"), audio=[clips[clip]])
        features, mask = (mx.array(made[it]) for it in ("input_features", "input_features_mask"))
        return generate(
            tokens, made["input_ids"], input_features=features, input_features_mask=mask
        )

    return transcribe


if __name__ == "__main__":
    serve(load, "mlx", "mlx-vlm")
