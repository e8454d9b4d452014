"""Decode, or hear, by transformers on torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.peers.drivers.protocol import serve, until


def load(folder: str, ends: list[int], hears: bool = False, **_: Any) -> Callable[..., list[int]]:
    """Load a checkpoint in float32."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    settings: dict[str, Any] = {"do_sample": False, "eos_token_id": ends, "pad_token_id": ends[0]}

    @torch.inference_mode()
    def generate(tokens: int, given: dict[str, Any]) -> list[int]:
        out = model.generate(**given, max_new_tokens=tokens, **settings)
        return until(out[0, given["input_ids"].shape[1] :].tolist(), ends)

    if not hears:
        model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

        def say(tokens: int, ids: list[int]) -> list[int]:
            asked = torch.tensor([ids])
            return generate(tokens, {"input_ids": asked, "attention_mask": torch.ones_like(asked)})

        return say

    import numpy as np

    model = transformers.Qwen3ASRForConditionalGeneration.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    extractor = transformers.Qwen3ASRFeatureExtractor()
    processor = transformers.Qwen3ASRProcessor(extractor, tokenizer)
    clips: dict[str, Any] = {}
    text = (
        "<|im_start|>system\n<|im_end|>\n<|im_start|>user\n<|audio_start|><|audio_pad|>"
        "<|audio_end|><|im_end|>\n<|im_start|>assistant\n"
    )

    def hear(tokens: int, clip: str) -> list[int]:
        if clip not in clips:
            clips[clip] = np.load(clip)
        return generate(tokens, dict(processor(text=text, audio=clips[clip], sampling_rate=16_000)))

    return hear


if __name__ == "__main__":
    serve(load, "torch", "transformers")
