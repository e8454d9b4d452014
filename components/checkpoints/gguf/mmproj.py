"""Encoders in llama.cpp's mmproj files, read as those of the releases: Gemma-4's two towers.

The names are those of gguf's tensor_mapping.py, in which the two norms of a gated convolution stand
the other way round. What llama.cpp has in its code and not in the file are Gemma-4's constants.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from composer.formats.safetensors import Tensor, TensorIndex

from ..gemma4_audio import layout as audio_layout
from ..gemma4_vision import layout as vision_layout
from .renamed import by_name
from .stored_forms import StoredAsSoftplus, StoredChannelsFirst, tensor_values

ARCHITECTURE = "clip"
VISION, AUDIO = "clip.vision.", "clip.audio."
KIND = "projector_type"
KINDS = {f"{VISION}{KIND}": "gemma4v", f"{AUDIO}{KIND}": "gemma4a"}
TOWERS = {"v.": "vision_tower", "a.": "audio_tower"}
SIZES = {
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "attention.head_count": "num_attention_heads",
}
VISION_KEYS = SIZES | {
    "feed_forward_length": "intermediate_size",
    "patch_size": "patch_size",
    "projector.scale_factor": "pooling_kernel_size",
    "attention.layer_norm_epsilon": "rms_norm_eps",
}
# Of pictures of any size the file states one; llama.cpp has the norms' epsilon of speech in code.
UNREAD = {f"{VISION}{KIND}", f"{AUDIO}{KIND}", f"{VISION}image_size",
          f"{AUDIO}attention.layer_norm_epsilon"}  # fmt: skip
BOTH = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
}
VISION_LAYER = BOTH | {
    "attn_out": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ln1": "input_layernorm",
    "attn_post_norm": "post_attention_layernorm",
    "ln2": "pre_feedforward_layernorm",
    "ffn_post_norm": "post_feedforward_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
AUDIO_LAYER = BOTH | {
    "attn_out": "self_attn.post",
    "attn_k_rel": "self_attn.relative_k_proj",
    "per_dim_scale": "self_attn.per_dim_scale",
    "attn_pre_norm": "norm_pre_attn",
    "attn_post_norm": "norm_post_attn",
    "ffn_norm": "feed_forward1.pre_layer_norm",
    "ffn_up": "feed_forward1.ffw_layer_1",
    "ffn_down": "feed_forward1.ffw_layer_2",
    "ffn_post_norm": "feed_forward1.post_layer_norm",
    "ffn_norm_1": "feed_forward2.pre_layer_norm",
    "ffn_up_1": "feed_forward2.ffw_layer_1",
    "ffn_down_1": "feed_forward2.ffw_layer_2",
    "ffn_post_norm_1": "feed_forward2.post_layer_norm",
    "conv_norm": "lconv1d.pre_layer_norm",
    "conv_pw1": "lconv1d.linear_start",
    "conv_dw": "lconv1d.depthwise_conv1d",
    "norm_conv": "lconv1d.conv_norm",
    "conv_pw2": "lconv1d.linear_end",
    "ln2": "norm_out",
}
STEM = "audio_tower.subsample_conv_projection."
OUTSIDE = {
    "v.patch_embd": "vision_tower.patch_embedder.input_proj",
    "mm.input_projection": "embed_vision.embedding_projection",
    "a.conv1d.0": f"{STEM}layer0.conv",
    "a.conv1d.0.norm": f"{STEM}layer0.norm",
    "a.conv1d.1": f"{STEM}layer1.conv",
    "a.conv1d.1.norm": f"{STEM}layer1.norm",
    "a.input_projection": f"{STEM}input_proj_linear",
    "a.pre_encode.out": "audio_tower.output_proj",
    "mm.a.input_projection": "embed_audio.embedding_projection",
}
ALONE = {
    "v.position_embd.weight": vision_layout.TABLE,
    "v.std_bias": "vision_tower.std_bias",
    "v.std_scale": "vision_tower.std_scale",
}
IN_LAYER = re.compile(r"([va])\.blk\.(\d+)\.(\w+)\.(weight|(?:input|output)_(?:min|max))")
PART = re.compile(r"(.+)\.(weight|bias)")


def release_config(metadata: Mapping[str, Any], tensors: TensorIndex) -> dict[str, Any]:
    """Return the config.json of a release, with the towers that the file has.

    What no key of a release says keeps its own name, and is refused.
    """
    known = {key for key, kind in KINDS.items() if metadata.get(key) == kind}
    config: dict[str, Any] = {}
    if f"{VISION}{KIND}" in known:
        config["vision_config"] = _vision(metadata, tensors)
    if f"{AUDIO}{KIND}" in known:
        config["audio_config"] = _audio(metadata, tensors)
    return config


def _vision(metadata: Mapping[str, Any], tensors: TensorIndex) -> dict[str, Any]:
    standardized = "v.std_scale" in tensors
    found = {
        "model_type": "gemma4_vision",
        "standardize": standardized,
        "use_clipped_linears": not standardized,  # each release has one of the two
    }
    repeated = {
        "image_mean": [0.0, 0.0, 0.0],
        "image_std": [1.0, 1.0, 1.0],
        "projection_dim": _rows(tensors, "mm.input_projection.weight"),
    }
    return found | _renamed(metadata, VISION, VISION_KEYS, repeated)


def _audio(metadata: Mapping[str, Any], tensors: TensorIndex) -> dict[str, Any]:
    width = metadata.get(f"{AUDIO}embedding_length")
    repeated = {
        "feed_forward_length": 4 * width if type(width) is int else None,
        "projection_dim": _rows(tensors, "mm.a.input_projection.weight"),
        "num_mel_bins": _mels(tensors),
    }
    return {"model_type": "gemma4_audio"} | _renamed(metadata, AUDIO, SIZES, repeated)


def _renamed(
    metadata: Mapping[str, Any], prefix: str, keys: Mapping[str, str], repeated: Mapping[str, Any]
) -> dict[str, Any]:
    """Return keys below a prefix by a release's names, without what only repeats something."""
    found = {}
    for name, value in metadata.items():
        key = name.removeprefix(prefix)
        if key == name or name in UNREAD or (key in repeated and value == repeated[key]):
            continue
        found[keys.get(key, name)] = value
    return found


def _rows(tensors: TensorIndex, name: str) -> int | None:
    tensor = tensors.get(name)
    return tensor.shape[0] if tensor and tensor.shape else None


def _mels(tensors: TensorIndex) -> int | None:
    """Return how many mels two halvings give what is projected, for each channel."""
    joined, channels = tensors.get("a.input_projection.weight"), _rows(tensors, "a.conv1d.1.weight")
    if joined is None or len(joined.shape) != 2 or not channels:
        return None
    return 4 * joined.shape[1] // channels


def release_tensors(tensors: TensorIndex) -> dict[str, Tensor]:
    """Return the tensors under the names of the release, those that are not known in a tower."""
    renamed = []
    for name, tensor in tensors.items():
        renamed.append(_restored(replace(tensor, name=f"model.{release_name(name)}")))
    return by_name(renamed)


def release_name(name: str) -> str:
    """Return the name of a tensor in Google's release, below `model.`."""
    if name in ALONE:
        return ALONE[name]
    if found := IN_LAYER.fullmatch(name):
        part, number, module, ending = found.groups()
        tower = "vision_tower.encoder" if part == "v" else "audio_tower"
        known = (VISION_LAYER if part == "v" else AUDIO_LAYER).get(module)
        clipped = vision_layout.CLIPPED if part == "v" else audio_layout.CLIPPED
        if known and ending == "weight" and known in clipped:
            ending = "linear.weight"
        if known == "self_attn.per_dim_scale":
            return f"{tower}.layers.{number}.{known}"
        if known:
            return f"{tower}.layers.{number}.{known}.{ending}"
    if (found := PART.fullmatch(name)) and found[1] in OUTSIDE:
        return f"{OUTSIDE[found[1]]}.{found[2]}"
    is_audio = name.startswith(("a.", "mm.a."))
    return f"{TOWERS['a.' if is_audio else 'v.']}.{name}"


def _restored(tensor: Tensor) -> Tensor:
    """Return a tensor in the release's shape, saying in which form it is stored."""
    name, shape = tensor.name, tensor.shape
    if name.endswith(audio_layout.BOUNDS) and shape == (1,):
        return replace(tensor, shape=())
    if name.endswith(".per_dim_scale"):
        return StoredAsSoftplus(**tensor_values(tensor))
    if name.endswith(".depthwise_conv1d.weight") and len(shape) == 2:
        return replace(tensor, shape=(shape[0], 1, shape[1]))
    if name.endswith(".input_proj.weight") and len(shape) == 4:
        rows, channels, high, wide = shape
        values = tensor_values(tensor) | {"shape": (rows, channels * high * wide)}
        return StoredChannelsFirst(**values, channels=channels)
    return tensor
