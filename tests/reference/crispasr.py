"""Write Gemma-4 with its audio tower as CrispASR's convert-gemma4-e2b-to-gguf.py does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize, quantize

from tests.models.gguf_files import add_value
from tests.reference.gemma4_audio import Gemma4Audio

# Replaced in this order, as the converter's table of names has them.
NAMES = (
    ("model.audio_tower.", "audio."),
    ("model.embed_audio.embedding_projection.", "audio.embed_proj."),
    ("model.language_model.", "llm."),
    ("subsample_conv_projection.layer0.conv.", "subsample.conv0."),
    ("subsample_conv_projection.layer1.conv.", "subsample.conv1."),
    ("subsample_conv_projection.layer0.norm.", "subsample.norm0."),
    ("subsample_conv_projection.layer1.norm.", "subsample.norm1."),
    ("subsample_conv_projection.input_proj_linear.", "subsample.input_proj."),
    (".linear.weight", ".weight"),
    (".feed_forward1.", ".ffn1."),
    (".feed_forward2.", ".ffn2."),
    (".pre_layer_norm.", ".pre_ln."),
    (".post_layer_norm.", ".post_ln."),
    (".ffw_layer_1.", ".up."),
    (".ffw_layer_2.", ".down."),
    (".self_attn.post.", ".attn.o."),
    (".self_attn.relative_k_proj.", ".attn.rel_k."),
    (".self_attn.o_proj.", ".attn.o_proj."),
    (".self_attn.q_proj.", ".attn.q."),
    (".self_attn.k_proj.", ".attn.k."),
    (".self_attn.v_proj.", ".attn.v."),
    (".self_attn.", ".attn."),
    (".norm_pre_attn.", ".attn_pre_ln."),
    (".norm_post_attn.", ".attn_post_ln."),
    (".norm_out.", ".out_ln."),
    (".lconv1d.linear_start.", ".conv.gate_proj."),
    (".lconv1d.linear_end.", ".conv.out_proj."),
    (".lconv1d.depthwise_conv1d.", ".conv.dw_conv."),
    (".lconv1d.conv_norm.", ".conv.conv_ln."),
    (".lconv1d.", ".conv."),
    (".input_layernorm.", ".attn_norm."),
    (".post_attention_layernorm.", ".post_attn_norm."),
    (".pre_feedforward_layernorm.", ".pre_ffn_norm."),
    (".post_feedforward_layernorm.", ".post_ffn_norm."),
    (".post_per_layer_input_norm.", ".post_ple_norm."),
    (".per_layer_input_gate.", ".ple_gate."),
    (".per_layer_projection.", ".ple_proj."),
    (".mlp.gate_proj.", ".ffn.gate."),
    (".mlp.up_proj.", ".ffn.up."),
    (".mlp.down_proj.", ".ffn.down."),
)
MEL = {"audio.mel_window": (400,), "audio.mel_filters": (201, 128)}
PREFIX = "gemma4e2b"


def their_name(name: str) -> str:
    for before, after in NAMES:
        name = name.replace(before, after)
    return name


def packed(value: np.ndarray, kind: str) -> tuple[np.ndarray, GGMLQuantizationType, np.ndarray]:
    """Return what is stored of a tensor, its type, and what that stands for in float32."""
    if value.ndim < 2:
        return value, GGMLQuantizationType.F32, value
    wanted = GGMLQuantizationType[kind]
    if value.ndim != 2 or value.shape[1] % GGML_QUANT_SIZES[wanted][0]:
        wanted = GGMLQuantizationType.F16
    if wanted == GGMLQuantizationType.F16:
        half = value.astype(np.float16)
        return half, wanted, half.astype(np.float32)
    raw = quantize(value, wanted)
    return raw, wanted, dequantize(raw, wanted)


def write(
    theirs: Gemma4Audio,
    file: Path,
    kind: str = "Q8_0",
    change: Callable[[dict[str, Any], dict[str, np.ndarray]], None] | None = None,
) -> dict[str, torch.Tensor]:
    """Write the file, and return the weights that it stands for by transformers' names.

    `change` may edit the metadata and the tensors by their names in the file.
    """
    metadata, tensors, names = metadata_of(theirs), {}, {}
    for name, value in theirs.state("language_model", "audio_tower", "embed_audio").items():
        if "rotary_emb" in name or "rel_pos_enc" in name:
            continue
        names[their_name(name)] = name
        tensors[their_name(name)] = np.atleast_1d(value.numpy())
    add_unread(theirs, tensors)
    if change:
        change(metadata, tensors)
    writer, meant = GGUFWriter(file, PREFIX), {}
    for key, value in metadata.items():
        add_value(writer, key, value)
    for name, value in tensors.items():
        raw, stored, value = packed(value, kind)
        writer.add_tensor(name, raw, raw_dtype=stored)
        if name in names:
            meant[names[name]] = torch.tensor(value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return meant


def add_unread(theirs: Gemma4Audio, tensors: dict[str, np.ndarray]) -> None:
    """Add what the release stores and nothing reads: keys of layers that share, Whisper's mels."""
    config = theirs.model.config.text_config
    for number in range(config.num_hidden_layers - config.num_kv_shared_layers, 6):
        rows = len(tensors[f"llm.layers.{number}.attn.q_norm.weight"])
        shape = (rows * config.num_key_value_heads, config.hidden_size)
        for name in ("k", "v"):
            tensors[f"llm.layers.{number}.attn.{name}.weight"] = np.ones(shape, np.float32)
        tensors[f"llm.layers.{number}.attn.k_norm.weight"] = np.ones(rows, np.float32)
    for name, shape in MEL.items():
        tensors[name] = np.ones(shape, np.float32)


def metadata_of(theirs: Gemma4Audio) -> dict[str, Any]:
    """Return what the converter writes of a config."""
    text, audio = theirs.model.config.text_config, theirs.model.config.audio_config
    text.allow_global_per_layer_attribute_access = True
    found = {
        "audio.hidden_size": audio.hidden_size,
        "audio.num_layers": audio.num_hidden_layers,
        "audio.num_heads": audio.num_attention_heads,
        "audio.conv_kernel_size": audio.conv_kernel_size,
        "audio.chunk_size": audio.attention_chunk_size,
        "audio.context_left": audio.attention_context_left,
        "audio.output_proj_dims": audio.output_proj_dims,
        "audio.residual_weight": float(audio.residual_weight),
        "audio.attention_logit_cap": float(audio.attention_logit_cap),
        "llm.hidden_size": text.hidden_size,
        "llm.num_layers": text.num_hidden_layers,
        "llm.num_heads": text.num_attention_heads,
        "llm.num_kv_heads": text.num_key_value_heads,
        "llm.head_dim": text.head_dim,
        "llm.intermediate_size": text.intermediate_size,
        "llm.vocab_size": text.vocab_size,
        "llm.max_position_embeddings": text.max_position_embeddings,
        "llm.sliding_window": text.sliding_window,
        "llm.rope_theta": 10_000.0,
        "llm.final_logit_softcapping": float(text.final_logit_softcapping),
        "llm.rms_norm_eps": float(text.rms_norm_eps),
        "llm.hidden_size_per_layer_input": text.hidden_size_per_layer_input,
        "llm.num_kv_shared_layers": text.num_kv_shared_layers,
        "llm.global_head_dim": 32,
        "llm.use_double_wide_mlp": bool(text.use_double_wide_mlp),
        "llm.attention_k_eq_v": bool(text.attention_k_eq_v),
        "llm.layer_full_mask": [int(kind == "full_attention") for kind in text.layer_types],
        "llm.rope_theta_full": 1_000_000.0,
        "llm.partial_rotary_factor": 0.25,
    }
    tokens = theirs.tokenizer.get_vocab()
    named = {f"{PREFIX}.{key}": value for key, value in found.items()}
    return named | {"tokenizer.ggml.tokens": sorted(tokens, key=tokens.__getitem__)}
