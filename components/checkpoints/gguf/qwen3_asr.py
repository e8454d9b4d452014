"""Qwen3-ASR's audio encoder in llama.cpp's mmproj files, under the names of its release.

How many frames attend to each other is not in the file; it is what the release has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from composer.formats.safetensors import Tensor, TensorIndex

from .renamed import by_name

PREFIX = "clip.audio."
KIND = "qwen3a"
KEYS = {
    "num_mel_bins": "num_mel_bins",
    "embedding_length": "d_model",
    "block_count": "encoder_layers",
    "feed_forward_length": "encoder_ffn_dim",
    "attention.head_count": "encoder_attention_heads",
    "projection_dim": "output_dim",
}
LAYER = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_out": "self_attn.out_proj",
    "ln1": "self_attn_layer_norm",
    "ln2": "final_layer_norm",
    "ffn_up": "fc1",
    "ffn_down": "fc2",
}
OUTSIDE = {
    "a.conv2d.1": "conv2d1",
    "a.conv2d.2": "conv2d2",
    "a.conv2d.3": "conv2d3",
    "a.conv_out": "conv_out",
    "a.post_ln": "ln_post",
    "mm.a.mlp.1": "proj1",
    "mm.a.mlp.2": "proj2",
}
POSITIONS = "a.position_embd.weight"  # sinusoids, which are computed anew
EPSILON, CLOSE = 1e-5, 1e-9  # of the norms, which float32 rounds
IN_LAYER = re.compile(r"a\.blk\.(\d+)\.(\w+)\.(weight|bias)")
PART = re.compile(r"(.+)\.(weight|bias)")


def release_config(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config.json of a release. A key that it does not have keeps its own name."""
    found: dict[str, Any] = {"model_type": "qwen3_asr_audio_encoder"}
    for name, value in metadata.items():
        key = name.removeprefix(PREFIX)
        if key in (name, "projector_type"):
            continue
        is_number = isinstance(value, int | float)
        if key == "attention.layer_norm_epsilon" and is_number and abs(value - EPSILON) < CLOSE:
            continue
        found[KEYS.get(key, name)] = value
    return {"audio_config": found}


def release_tensors(tensors: TensorIndex) -> dict[str, Tensor]:
    """Return the tensors under the names of the release, those that are not known in the tower."""
    renamed = []
    for name, tensor in tensors.items():
        if name == POSITIONS:
            continue
        known, shape = f"audio_tower.{_name(name)}", tensor.shape
        if name.endswith(".bias"):
            shape = tuple(size for size in shape if size != 1) or shape
        renamed.append(replace(tensor, name=known, shape=shape))
    return by_name(renamed)


def _name(name: str) -> str:
    if (found := IN_LAYER.fullmatch(name)) and found[2] in LAYER:
        return f"layers.{found[1]}.{LAYER[found[2]]}.{found[3]}"
    if (found := PART.fullmatch(name)) and found[1] in OUTSIDE:
        return f"{OUTSIDE[found[1]]}.{found[2]}"
    return name
