"""Qwen3-ASR: as transformers' checkpoint, as a bundle and as released."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.peers.models.model import Model
from benchmarks.weights import Sizes

SMALL = Sizes(4, 256, 4, 256, 768, 4, 2, 64, 384, None)
REAL = Sizes(18, 896, 28, 1024, 3072, 16, 8, 128, 151_936, None)
RELEASED = (
    ("model.language_model.", "thinker.model."),
    ("model.audio_tower.", "thinker.audio_tower."),
    ("model.multi_modal_projector.linear_", "thinker.audio_tower.proj"),
)  # the names that it was released with


def qwen3_asr(folder: Path, real: bool = False) -> Model:
    """Write it in float32, of 4 and 4 layers of 256 or of Qwen3-ASR-0.6B's shape."""
    import torch
    import transformers

    from converters.qwen3_asr import convert
    from tests.reference.qwen3_asr import BUNDLE, make_tokenizer

    sizes = REAL if real else SMALL
    tokenizer = make_tokenizer()
    ends = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    slot = tokenizer.convert_tokens_to_ids("<|audio_pad|>")
    text = {
        "hidden_size": sizes.width,
        "intermediate_size": sizes.inner,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads,
        "head_dim": sizes.head,
        "vocab_size": sizes.vocabulary,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "rope_theta": 1e6,
    }
    config = transformers.Qwen3ASRConfig(
        audio_config=sizes.audio_config, text_config=text, audio_token_id=slot,
        pad_token_id=ends[0], eos_token_id=ends,
    )  # fmt: skip
    torch.manual_seed(11)
    model = transformers.Qwen3ASRForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            random_values = torch.randn_like(parameter)
            if parameter.ndim > 1:
                spread = 0.3 if "embed_tokens" in name else 1.5 * parameter[0].numel() ** -0.5
                parameter.copy_(spread * random_values)
            else:
                parameter.add_(0.1 * random_values + ("q_norm" in name or "k_norm" in name))
    checkpoint, original = folder / "checkpoint", folder / "original"
    model.save_pretrained(checkpoint, max_shard_size="100GB")
    tokenizer.save_pretrained(checkpoint)
    thinker = {"audio_config": sizes.audio_config, "text_config": text, "audio_token_id": slot}
    _write_released(model.state_dict(), thinker, original)
    del model  # or it would be held while it is converted
    tokenizer.save_pretrained(original)
    transformers.WhisperFeatureExtractor(feature_size=128).save_pretrained(original)
    convert(checkpoint, folder / "converted", "float32")
    shutil.copy(BUNDLE, folder / "bundle.yaml")
    shape = "Qwen3-ASR-0.6B's shape, 3.1 GB" if real else "4 and 4 layers of 256"
    return Model(shape, folder, "transcribe", checkpoint, tuple(ends), original)


def _write_released(state: Mapping[str, Any], thinker: Mapping[str, Any], folder: Path) -> None:
    """Write weights and config as Qwen3-ASR was released."""
    from safetensors.torch import save_file

    renamed = {}
    for name, tensor in state.items():
        for old, new in RELEASED:
            if name.startswith(old):
                renamed[name.replace(old, new, 1)] = tensor.contiguous()
    folder.mkdir()
    save_file(renamed, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "model_type": "qwen3_asr",
        "thinker_config": thinker,
        "support_languages": ["English"],
    }
    (folder / "config.json").write_text(json.dumps(config))
