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
GEMMA4 = {
    "inp_gate": "per_layer_input_gate",
    "proj": "per_layer_projection",
    "post_norm": "post_per_layer_input_norm",
    "ffn_gate_inp": "router.proj",
    "pre_ffw_norm_2": "pre_feedforward_layernorm_2",
    "post_ffw_norm_1": "post_feedforward_layernorm_1",
    "post_ffw_norm_2": "post_feedforward_layernorm_2",
}
GEMMA4_WHOLE = {
    "per_layer_token_embd": "model.embed_tokens_per_layer",
    "per_layer_model_proj": "model.per_layer_model_projection",
    "per_layer_proj_norm": "model.per_layer_projection_norm",
}
NOT_MODULES = {
    "layer_output_scale.weight": "layer_scalar",
    "ffn_gate_inp.scale": "router.scale",
    "ffn_gate_up_exps.weight": "experts.gate_up_proj",
    "ffn_down_exps.weight": "experts.down_proj",
    "ffn_down_exps.scale": "router.per_expert_scale",
}  # of Gemma-4: tensors whose names in the checkpoint have no ending of their own
RAISED = ("gemma2", "gemma3")  # have norms on both sides, stored with 1 added
BOTH_SIDES = (*RAISED, "gemma4")
IN_LAYER = re.compile(r"blk\.(\d+)\.(([a-z_]+\d?)\.([a-z]+))")
OUTSIDE = re.compile(r"([a-z_]+)\.(weight|bias)")


def checkpoint_name(name: str, architecture: str) -> str:
    """Return the name of a tensor in the checkpoint; one that is not known stays as it is."""
    layer, whole = LAYER, WHOLE
    if architecture in BOTH_SIDES:
        layer = layer | NORMS_ON_BOTH_SIDES
    if architecture == "gemma4":
        layer, whole = layer | GEMMA4, whole | GEMMA4_WHOLE
    if found := IN_LAYER.fullmatch(name):
        number, inside, module, part = found.groups()
        if architecture == "gemma4" and inside in NOT_MODULES:
            return f"model.layers.{number}.{NOT_MODULES[inside]}"
        if module in layer and part in ("weight", "bias"):
            return f"model.layers.{number}.{layer[module]}.{part}"
    if (found := OUTSIDE.fullmatch(name)) and found[1] in whole:
        return f"{whole[found[1]]}.{found[2]}"
    return name
