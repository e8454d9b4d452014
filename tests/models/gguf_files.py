"""Write a decoder's checkpoint as llama.cpp's convert_hf_to_gguf.py does, by gguf's own writer."""

import json
import re

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize, quantize
from safetensors.numpy import load_file

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
GEMMA = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
STEPS = {  # where types that gguf does not quantize have float16 scales, and of what size
    "Q2_K": [(80, 8e-3), (82, 12e-3)],
    "Q3_K": [(108, 2e-3)],
    "Q4_K": [(0, 4e-4), (2, 3e-3)],
    "Q5_K": [(0, 2e-4), (2, 3e-3)],
    "Q6_K": [(208, 8e-5)],
    "IQ4_NL": [(0, 8e-4)],
    "IQ4_XS": [(0, 4e-5)],
}


def read(folder):
    """Return the config and the float32 weights of a folder."""
    return (
        json.loads((folder / "config.json").read_text()),
        load_file(folder / "model.safetensors"),
    )


def their_name(name, architecture):
    module, _, part = name.rpartition(".")
    names = NAMES | (GEMMA if architecture in ("gemma2", "gemma3") else {})
    found = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", module)
    return f"blk.{found[1]}.{names[found[2]]}.{part}" if found else f"{names[module]}.{part}"


def interleaved(weight, heads):
    """llama.cpp's LlamaModel.permute: the halves of each head row by row in turn."""
    size = weight.shape[0] // heads // 2
    return weight.reshape(heads, 2, size, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def separated(weight, heads):
    """The inverse of `interleaved`."""
    size = weight.shape[0] // heads // 2
    return weight.reshape(heads, size, 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def packed(weight, kind, rng):
    """Return a weight in a type's blocks, and what these are as float32.

    gguf quantizes the plain types; blocks of the others are drawn, their scales then set.
    """
    kind = GGMLQuantizationType[kind.upper()]
    if weight.ndim not in (2, 3) or kind == GGMLQuantizationType.F32:
        return weight, GGMLQuantizationType.F32, weight
    if weight.shape[-1] % GGML_QUANT_SIZES[kind][0]:  # as llama.cpp does
        kind = GGMLQuantizationType.F16
    if kind.name not in STEPS:
        raw = quantize(weight, kind)
        return raw, kind, dequantize(raw, kind)
    elements, size = GGML_QUANT_SIZES[kind]
    blocks = rng.integers(0, 256, (weight.size // elements, size), np.uint8)
    for at, step in STEPS[kind.name]:
        scale = rng.uniform(0.5, 1, (len(blocks), 1)) * step
        blocks[:, at : at + 2] = scale.astype("<f2").view(np.uint8)
    raw = blocks.reshape(*weight.shape[:-1], -1)
    return raw, kind, dequantize(raw, kind)


def write(
    folder,
    file,
    architecture,
    kinds=lambda name: "f32",
    rope_factors=None,
    tokenizer=(),
    chat_template=None,
    per_file=0,
    **more,
):
    """Write a folder's checkpoint as one GGUF file; return the weights that it stands for.

    `kinds` gives the type of each matrix by its name there; `more` is more metadata. `per_file`
    is how many tensors a file has of a model in several parts.
    """
    config, weights = read(folder)
    rng = np.random.default_rng(7)
    writer = GGUFWriter(file, architecture, split_max_tensors=per_file)
    heads, keys = config["num_attention_heads"], config["num_key_value_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    rope = config.get("rope_parameters") or {}
    rope = rope.get("full_attention", rope)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(keys)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(rope.get("rope_theta", 10_000.0))
    writer.add_file_type(0)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_uint32("tokenizer.ggml.eos_token_id", 2)
    if architecture == "llama":
        writer.add_rope_dimension_count(head_dim)
    if architecture in ("gemma2", "gemma3"):
        writer.add_sliding_window(config["sliding_window"])
    if architecture == "gemma2":
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    for key, value in more.items():
        add = writer.add_string if isinstance(value, str) else writer.add_float32
        add(f"{architecture}.{key.replace('__', '.')}", value)
    for key, value in dict(tokenizer).items():
        add = writer.add_array if isinstance(value, list) else writer.add_string
        add(f"tokenizer.ggml.{key}", value)
    if chat_template:
        writer.add_chat_template(chat_template)
    meant = {}
    raised = "norm.weight" if architecture in ("gemma2", "gemma3") else None
    for name, weight in weights.items():
        weight = weight.astype(np.float32)
        theirs = their_name(name, architecture)
        turned = architecture == "llama" and re.search(r"attn_[qk]\.", theirs)
        count = heads if "attn_q" in theirs else keys
        if raised and name.endswith(raised):
            weight = weight + 1
        if turned:
            weight = interleaved(weight, count)
        raw, kind, value = packed(weight, kinds(theirs), rng)
        writer.add_tensor(theirs, raw, raw_dtype=kind)
        if turned:
            value = separated(value, count)
        meant[name] = value - 1 if raised and name.endswith(raised) else value
    if rope_factors is not None:
        writer.add_tensor("rope_freqs.weight", np.array(rope_factors, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return meant


def add_value(writer, key, value):
    """Add a value of metadata in the type that the converter gives it."""
    if isinstance(value, str):
        writer.add_string(key, value)
    elif isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    else:
        writer.add_array(key, value)
