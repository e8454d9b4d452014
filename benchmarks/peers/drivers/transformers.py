"""Decode text or transcribe audio by transformers on torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.peers.drivers.protocol import GEMMA4_PROMPT, serve, until


def load(
    folder: str,
    ends: list[int],
    takes_audio: bool = False,
    precision: str = "float32",
    **_: Any,
) -> Callable[..., list[int]]:
    """Load a checkpoint in float32, or in another dtype of torch."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    settings: dict[str, Any] = {"do_sample": False, "eos_token_id": ends, "pad_token_id": ends[0]}
    kind = transformers.AutoConfig.from_pretrained(folder).architectures[0]
    maker = getattr(transformers, kind) if takes_audio else transformers.AutoModelForCausalLM
    model: Any = maker.from_pretrained(folder, dtype=getattr(torch, precision))

    @torch.inference_mode()
    def generate(tokens: int, given: dict[str, Any]) -> list[int]:
        out = model.generate(**given, max_new_tokens=tokens, **settings)
        return until(out[0, given["input_ids"].shape[1] :].tolist(), ends)

    def decode(tokens: int, ids: list[int]) -> list[int]:
        tokens_in = torch.tensor([ids])
        return generate(
            tokens, {"input_ids": tokens_in, "attention_mask": torch.ones_like(tokens_in)}
        )

    if not takes_audio:
        return decode

    import numpy as np

    process = (gemma4 if "Gemma4" in kind else qwen3_asr)(folder)
    clips: dict[str, Any] = {}

    def transcribe(tokens: int, clip: str) -> list[int]:
        if clip not in clips:
            clips[clip] = np.load(clip)
        return generate(tokens, process(clips[clip]))

    return transcribe


def qwen3_asr(folder: str) -> Callable[[Any], dict[str, Any]]:
    """Return a function from a clip to Qwen3-ASR's inputs."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    extractor = transformers.Qwen3ASRFeatureExtractor()
    processor = transformers.Qwen3ASRProcessor(extractor, tokenizer)
    text = (
        "<|im_start|>system\n<|im_end|>\n<|im_start|>user\n<|audio_start|><|audio_pad|>"
        "<|audio_end|><|im_end|>\n<|im_start|>assistant\n"
    )
    return lambda clip: dict(processor(text=text, audio=clip, sampling_rate=16_000))


def gemma4(folder: str) -> Callable[[Any], dict[str, Any]]:
    """Return a function from a clip to Gemma-4's inputs.

    It does what Gemma4Processor does, which needs torchvision's image processor.
    """
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    extractor = transformers.Gemma4AudioFeatureExtractor()

    def process(clip: Any) -> dict[str, Any]:
        features = extractor([clip], sampling_rate=16_000, return_tensors="pt")
        rows = int(features["input_features_mask"][0, ::4].sum())  # two convolutions of stride 2
        audio = tokenizer.boa_token + rows * tokenizer.audio_token + tokenizer.eoa_token
        tokens_in = tokenizer(GEMMA4_PROMPT.format(audio=audio), return_tensors="pt")
        ids = tokens_in["input_ids"]
        kinds = 3 * (ids == tokenizer.audio_token_id).long()
        mask = tokens_in["attention_mask"]
        return {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": kinds, **features}

    return process


if __name__ == "__main__":
    serve(load, "torch", "transformers")
