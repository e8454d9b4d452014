"""Facts of mlx-lm's architectures that their source does not show.

`COMPARED` are the model_types whose numbers were compared with those of another implementation,
`TEXT_KINDS` those of a nested text model that a module computes. `DEFAULTS` are transformers'
defaults for missing keys where mlx-lm has another one or nothing, by module and by model_type;
`WINDOWED` are those whose windows mlx-lm computes; `PER_TYPE` read positions for each type
of layer; `FIXED` are keys that are read or not and of which only these values are right.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

COMPARED = frozenset(
    """
    gemma2 gemma3 gemma3_text iquestcoder laguna lfm2 lfm2-vl lfm2_moe llama llava mellum ministral3
    mistral mistral3 mistral4 mixtral pixtral qwen2 qwen2_5_vl qwen2_vl qwen3 qwen3_5 qwen3_moe
    qwen3_vl qwen3_vl_moe smollm3 telechat3 xverse
    """.split()
)
TEXT_KINDS: Mapping[str, tuple[str, ...]] = {
    "gemma3_text": ("gemma3_text", "gemma3"),
    "lfm2": ("lfm2",),
    "llama": ("llama", "mistral"),
    "ministral3": ("ministral3",),
    "mistral4": ("mistral4",),
    "qwen2": ("qwen2", "qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text"),
    "qwen3": ("qwen3", "qwen3_vl", "qwen3_vl_text"),
    "qwen3_5": ("qwen3_5", "qwen3_5_text"),
    "qwen3_moe": ("qwen3_moe", "qwen3_vl_moe", "qwen3_vl_moe_text"),
}
# What has no text model but in text_config; the others take its settings beside model_type too.
TEXT_NEEDED = frozenset(("gemma3", "lfm2-vl", "mistral3", "pixtral", "qwen3_vl_moe"))

SILU = ("silu", "swish")
GELU = ("gelu_pytorch_tanh", "gelu_new", "gelu_fast")
ACTIVATIONS = ("hidden_act", "hidden_activation", "activation_function")
ACTIVATION: Mapping[str, tuple[str, ...]] = {"gemma2": GELU, "gemma3_text": GELU}  # others: SILU

WINDOWED = frozenset(("gemma3_text", "laguna", "mellum"))
PER_TYPE = frozenset(("laguna", "mellum"))
REGULAR = {"gemma3_text": "sliding_window_pattern", "qwen3_5": "full_attention_interval"}
HYBRID = frozenset(("lfm2", "lfm2_moe", "qwen3_5"))  # layer_types other than attention
MULTIPLIED = frozenset(("mistral4",))  # multiplies scores by YaRN's mscale_all_dim itself
SPECIAL_HEADS = frozenset(("gemma3_text",))  # has a head where one is stored, whatever config says

DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "llama": {"rms_norm_eps": 1e-6, "rope_theta": 10_000.0},
    "iquestcoder": {"rms_norm_eps": 1e-5},
    "laguna": {"num_experts_per_tok": 8},
    "qwen2": {"rms_norm_eps": 1e-6, "rope_theta": 10_000.0},
    "qwen3": {"rms_norm_eps": 1e-6, "rope_theta": 10_000.0, "head_dim": 128},
    "qwen3_moe": {
        "rms_norm_eps": 1e-6,
        "rope_theta": 10_000.0,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "norm_topk_prob": False,
        "num_experts_per_tok": 8,
    },
    "mixtral": {"rms_norm_eps": 1e-5, "rope_theta": 1e6, "num_experts_per_tok": 2},
    "smollm3": {"rms_norm_eps": 1e-6, "rope_theta": 2e6},
    "gemma2": {
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "query_pre_attn_scalar": 256,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "rope_theta": 1e4,
        "rms_norm_eps": 1e-6,
    },
    "gemma3_text": {
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "sliding_window_pattern": 6,
        "rope_theta": 1e6,
        "rope_local_base_freq": 1e4,
        "rms_norm_eps": 1e-6,
    },
    "qwen3_5": {"rope_theta": 10_000.0},
    "lfm2": {
        "norm_eps": 1e-5,
        "rope_theta": 1e6,
        "conv_bias": False,
        "conv_L_cache": 3,
        "block_multiple_of": 256,
        "block_ffn_dim_multiplier": 1.0,
        "block_auto_adjust_ff_dim": True,
    },
    "mistral4": {"rope_interleave": True},
    "lfm2_moe": {
        "norm_eps": 1e-5,
        "rope_theta": 1e6,
        "conv_bias": False,
        "conv_L_cache": 3,
        "num_experts_per_tok": 4,
        "num_dense_layers": 2,
        "use_expert_bias": True,
        "norm_topk_prob": True,
        "routed_scaling_factor": 1.0,
    },
}

FIXED: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "laguna": {"attention_bias": (False,), "gating": (True, "per-head")},
}
FULL_NEEDED = frozenset(("laguna", "mellum"))  # at least one layer sees everything

KINDS_OF: Mapping[str, tuple[str, ...]] = {  # kinds of scaling, where not all are computed
    "mellum": ("yarn", "llama3", "dynamic"),
}
UNMASKED = frozenset(("ministral3",))  # no window can be given to its layers
NUMBERS_NEEDED = {
    "ministral3": ("llama_4_scaling_beta", "original_max_position_embeddings"),
    "mistral4": ("llama_4_scaling_beta", "original_max_position_embeddings"),
}
BOUNDED = {"gemma2": ("attn_logit_softcapping", "final_logit_softcapping")}  # always
HEAD_NEEDED = frozenset(("qwen3_vl_moe",))  # its tensors are renamed as if there was one
