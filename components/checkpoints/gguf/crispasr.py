"""Gemma-4 with its audio tower in one GGUF file, as CrispASR writes it, read as the release.

The names and keys are those of CrispASR's convert-gemma4-e2b-to-gguf.py. What it has in its code
and not in the file comes from there: the types of positions, and the ids that end a text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from composer.formats.safetensors import Tensor, TensorIndex

from ..gemma4_audio.layout import CLIPPED
from .renamed import by_name

ARCHITECTURE = "gemma4e2b"
TEXT = {
    "hidden_size": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "num_kv_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "intermediate_size": "intermediate_size",
    "vocab_size": "vocab_size",
    "max_position_embeddings": "max_position_embeddings",
    "sliding_window": "sliding_window",
    "final_logit_softcapping": "final_logit_softcapping",
    "rms_norm_eps": "rms_norm_eps",
    "hidden_size_per_layer_input": "hidden_size_per_layer_input",
    "num_kv_shared_layers": "num_kv_shared_layers",
    "global_head_dim": "global_head_dim",
    "use_double_wide_mlp": "use_double_wide_mlp",
    "attention_k_eq_v": "attention_k_eq_v",
}
AUDIO = {
    "hidden_size": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "conv_kernel_size": "conv_kernel_size",
    "chunk_size": "attention_chunk_size",
    "context_left": "attention_context_left",
    "output_proj_dims": "output_proj_dims",
    "residual_weight": "residual_weight",
    "attention_logit_cap": "attention_logit_cap",
}
POSITIONS = ("rope_theta", "rope_theta_full", "partial_rotary_factor", "layer_full_mask")
ENDS = [1, 106]
KINDS = ("sliding_attention", "full_attention")
# Of Whisper's geometry, not Gemma-4's; CrispASR does not read them either.
UNREAD = ("audio.mel_window", "audio.mel_filters")
DECODER = {
    "attn_norm": "input_layernorm",
    "post_attn_norm": "post_attention_layernorm",
    "pre_ffn_norm": "pre_feedforward_layernorm",
    "post_ffn_norm": "post_feedforward_layernorm",
    "post_ple_norm": "post_per_layer_input_norm",
    "attn.q": "self_attn.q_proj",
    "attn.k": "self_attn.k_proj",
    "attn.v": "self_attn.v_proj",
    "attn.o_proj": "self_attn.o_proj",
    "attn.q_norm": "self_attn.q_norm",
    "attn.k_norm": "self_attn.k_norm",
    "ffn.gate": "mlp.gate_proj",
    "ffn.up": "mlp.up_proj",
    "ffn.down": "mlp.down_proj",
    "ple_gate": "per_layer_input_gate",
    "ple_proj": "per_layer_projection",
    "layer_scalar": "layer_scalar",
}
FEED_FORWARD = {
    "pre_ln": "pre_layer_norm",
    "up": "ffw_layer_1",
    "down": "ffw_layer_2",
    "post_ln": "post_layer_norm",
}
TOWER = {
    **{
        f"ffn{n}.{gguf}": f"feed_forward{n}.{hf}"
        for n in (1, 2)
        for gguf, hf in FEED_FORWARD.items()
    },
    "attn.q": "self_attn.q_proj",
    "attn.k": "self_attn.k_proj",
    "attn.v": "self_attn.v_proj",
    "attn.o": "self_attn.post",
    "attn.rel_k": "self_attn.relative_k_proj",
    "attn.per_dim_scale": "self_attn.per_dim_scale",
    "attn_pre_ln": "norm_pre_attn",
    "attn_post_ln": "norm_post_attn",
    "out_ln": "norm_out",
    "conv.pre_ln": "lconv1d.pre_layer_norm",
    "conv.gate_proj": "lconv1d.linear_start",
    "conv.dw_conv": "lconv1d.depthwise_conv1d",
    "conv.conv_ln": "lconv1d.conv_norm",
    "conv.out_proj": "lconv1d.linear_end",
}
OUTSIDE = {
    "audio.subsample.conv0": "audio_tower.subsample_conv_projection.layer0.conv",
    "audio.subsample.norm0": "audio_tower.subsample_conv_projection.layer0.norm",
    "audio.subsample.conv1": "audio_tower.subsample_conv_projection.layer1.conv",
    "audio.subsample.norm1": "audio_tower.subsample_conv_projection.layer1.norm",
    "audio.subsample.input_proj": "audio_tower.subsample_conv_projection.input_proj_linear",
    "audio.output_proj": "audio_tower.output_proj",
    "audio.embed_proj": "embed_audio.embedding_projection",
}
IN_LAYER = re.compile(
    r"(llm|audio)\.layers\.(\d+)\.(.+?)(?:\.(weight|(?:input|output)_(?:min|max)))?"
)
PART = re.compile(r"(.+)\.(weight|bias)")


def release_config(metadata: Mapping[str, Any], tensors: TensorIndex) -> dict[str, Any]:
    """Return the config.json of the release. A key that it does not have keeps its own name."""
    prefix = f"{ARCHITECTURE}."
    text: dict[str, Any] = {}
    audio: dict[str, Any] = {"model_type": "gemma4_audio"}
    positions: dict[str, Any] = {}
    for name, value in metadata.items():
        part, _, key = name.removeprefix(prefix).partition(".")
        if not name.startswith(prefix):
            continue
        if part == "llm" and key in POSITIONS:
            positions[key] = value
        elif part == "audio":
            audio[AUDIO.get(key, name)] = value
        else:
            text[TEXT.get(key, name)] = value
    mask = positions.get("layer_full_mask") or _wide_queries(tensors, text)
    text["layer_types"] = [KINDS[bool(flag)] for flag in mask]
    text["rope_parameters"] = {
        "sliding_attention": {
            "rope_type": "default",
            "rope_theta": positions.get("rope_theta", 10_000.0),
        },
        "full_attention": {
            "rope_type": "proportional",
            "rope_theta": positions.get("rope_theta_full", 1_000_000.0),
            "partial_rotary_factor": positions.get("partial_rotary_factor", 0.25),
        },
    }
    return {
        "model_type": "gemma4",
        "tie_word_embeddings": True,
        "eos_token_id": ENDS,
        "text_config": text,
        "audio_config": audio,
    }


def _wide_queries(tensors: TensorIndex, text: Mapping[str, Any]) -> list[bool]:
    """Return which layers attend to everything: those of the larger heads. Older files lack it."""
    count = text.get("num_hidden_layers")
    rows = []
    for number in range(count if type(count) is int else 0):
        queries = tensors.get(f"llm.layers.{number}.attn.q.weight")
        rows.append(queries.shape[0] if queries and queries.shape else 0)
    return [each > min(rows) for each in rows]


def release_tensors(tensors: TensorIndex) -> dict[str, Tensor]:
    """Return the tensors under the names of the release; one that is not known keeps its own."""
    renamed = []
    for name, tensor in tensors.items():
        if name in UNREAD:
            continue
        known = release_name(name)
        shape = tensor.shape
        if known.endswith(("_min", "_max")) and shape == (1,):
            shape = ()
        renamed.append(replace(tensor, name=known, shape=shape))
    return by_name(renamed)


def release_name(name: str) -> str:
    """Return the name of a tensor in Google's release."""
    if found := IN_LAYER.fullmatch(name):
        part, number, module, ending = found.groups()
        known = (DECODER if part == "llm" else TOWER).get(module)
        if known is None:
            return name
        tower = "language_model" if part == "llm" else "audio_tower"
        if ending == "weight" and part == "audio" and known in CLIPPED:
            ending = "linear.weight"
        known = f"model.{tower}.layers.{number}.{known}"
        return f"{known}.{ending}" if ending else known
    if (found := PART.fullmatch(name)) and found[1] in OUTSIDE:
        return f"model.{OUTSIDE[found[1]]}.{found[2]}"
    if name.startswith("llm."):
        return f"model.language_model.{name.removeprefix('llm.')}"
    return name
