"""The names of a decoder's tensors in llama.cpp's GGUF files, and in the checkpoints before.

As llama.cpp's convert_hf_to_gguf.py writes them.
"""

from __future__ import annotations

import re

WHOLE = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
NORMS_ON_BOTH_SIDES = {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
RAISED = ("gemma2", "gemma3")  # have norms on both sides, stored with 1 added
IN_LAYER = re.compile(r"blk\.(\d+)\.([a-z_]+)\.(weight|bias)")
OUTSIDE = re.compile(r"([a-z_]+)\.(weight|bias)")


def checkpoint_name(name: str, architecture: str) -> str:
    """Return the name of a tensor in the checkpoint; one that is not known stays as it is."""
    layer = LAYER | NORMS_ON_BOTH_SIDES if architecture in RAISED else LAYER
    if (found := IN_LAYER.fullmatch(name)) and found[2] in layer:
        return f"model.layers.{found[1]}.{layer[found[2]]}.{found[3]}"
    if (found := OUTSIDE.fullmatch(name)) and found[1] in WHOLE:
        return f"{WHOLE[found[1]]}.{found[2]}"
    return name
