"""A text decoder of Gemma-4, with the image tower that mlx-vlm requires."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.peers.models.model import CONTINUE, Model, add_tokenizer
from benchmarks.weights import write_tokenizer

SLIDING, FULL = "sliding_attention", "full_attention"
# llama.cpp wants a full layer to be the last that is not shared, as it is in the published ones.
SMALL: dict[str, Any] = {
    "vocab_size": 1024,
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "head_dim": 64,
    "global_head_dim": 128,
    "sliding_window": 64,
    "num_kv_shared_layers": 3,
    "hidden_size_per_layer_input": 32,
    "layer_types": [SLIDING, SLIDING, FULL] * 2,
}
# 35 layers would take 18 GB. These have all kinds of them: sliding and full, with keys and values
# of their own and with borrowed ones, which also have the MLP of double width.
REAL: dict[str, Any] = {
    "vocab_size": 262_144,
    "hidden_size": 1536,
    "intermediate_size": 6144,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "head_dim": 256,
    "global_head_dim": 512,
    "sliding_window": 512,
    "num_kv_shared_layers": 2,
    "hidden_size_per_layer_input": 256,
    "layer_types": [SLIDING, FULL] * 2,
}
COMMON = {
    "num_key_value_heads": 1,
    "use_double_wide_mlp": True,
    "final_logit_softcapping": 30.0,
    "eos_token_id": 1,
}
VISION = {
    "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16, "global_head_dim": 16,
    "position_embedding_size": 64,
}  # fmt: skip
CPU = "variants: {cpu: {components: {decoder: {use: onnx.gemma4}}}}\n"
PER_LAYER = "  side:   {run: decoder.per_layer, with: {ids: $ids}}\n"


def gemma4(folder: Path, real: bool = False) -> Model:
    """Write it in float32, of 6 layers of 256 or with E2B's widths and vocabulary."""
    sizes = REAL if real else SMALL
    write_checkpoint(folder / "weights", sizes)
    write_tokenizer(folder / "tokenizer", sizes["vocab_size"])
    (folder / "bundle.yaml").write_text(
        CONTINUE.format(
            name="gemma4", use="mlx.gemma4", more=PER_LAYER, side="per_layer: $side, ", variants=CPU
        )
    )
    add_tokenizer(folder)
    shape = "Gemma-4-E2B's widths and vocabulary, but 4 layers of its 35, 3.5 GB"
    return Model(shape if real else "6 layers of 256", folder, "default", folder / "weights", (1,))


def write_checkpoint(
    folder: Path,
    sizes: Mapping[str, Any],
    audio: Mapping[str, Any] | None = None,
    **ids: int,
) -> None:
    """Write transformers' checkpoint; `ids` are those of marks around and in place of audio."""
    import torch
    import transformers

    torch.manual_seed(0)
    rows, width = sizes["vocab_size"], sizes["hidden_size"]
    text = {
        **sizes, **COMMON,
        "vocab_size_per_layer_input": rows,
        "initializer_range": 1.6 * width**-0.5,
    }  # fmt: skip
    marks = {"image_token_id": rows - 2, "video_token_id": rows - 3, "audio_token_id": rows - 4}
    marks |= ids
    config = transformers.Gemma4Config(
        text_config=text, vision_config=VISION, audio_config=audio, eos_token_id=1, **marks
    )
    model = transformers.Gemma4ForConditionalGeneration(config).eval()
    vary(
        model.model.language_model, [marks[f"{it}_token_id"] for it in ("image", "video", "audio")]
    )
    if audio:
        vary_audio(model.model)
    model.save_pretrained(folder, max_shard_size="100GB")
    # What transformers leaves out, mlx-lm and mlx-vlm take for the published model's.
    path = folder / "config.json"
    write_model = json.loads(path.read_text())
    write_model |= {"vocab_size": rows, "hidden_size": width}
    write_model["text_config"] |= {
        "global_head_dim": sizes["global_head_dim"],
        "num_global_key_value_heads": None,
    }
    path.write_text(json.dumps(write_model))


def vary(language: Any, marks: list[int]) -> None:
    """Randomize what transformers sets to one, and prevent repeated tokens.

    Marks of images and audio are never generated, as by a
    trained model: for a generated one, libraries use different rows of the per-layer table.
    """
    import torch

    with torch.no_grad():
        for name, value in [*language.named_parameters(), *language.named_buffers()]:
            if "norm" in name or name.endswith("layer_scalar"):
                value.normal_(1.0, 0.2)
        # The wider the rows, the more does a token's own one weigh against all others.
        scale = 3.2 * language.embed_tokens.weight.shape[1] ** -0.5
        language.embed_tokens.weight *= scale
        language.embed_tokens.weight[marks] = 0
        language.norm.weight /= scale


def vary_audio(model: Any) -> None:
    """Randomize the audio tower: no trivial norms, biases or bounds."""
    import torch

    tower, projection = model.audio_tower, model.embed_audio.embedding_projection.weight
    with torch.no_grad():
        for name, value in [*tower.named_parameters(), *tower.named_buffers()]:
            if name.endswith(("_min", "_max")):
                value.fill_(2.0 if name.endswith("_max") else -2.0)
            elif "norm" in name:
                value.normal_(1.0, 0.2)
            elif value.ndim == 1 and name.endswith(("bias", "per_dim_scale")):
                value.normal_(0.0, 0.3)
            elif value.ndim > 1 and "rel_pos_enc" not in name:
                value.normal_(0.0, 1.4 * value[0].numel() ** -0.5)
        projection.normal_(0.0, projection.shape[1] ** -0.5)
