"""The language model: a small Gemma-4 of transformers, and LoRA on its projections."""

import torch
from torch import Tensor, nn
from transformers import Gemma4ForCausalLM, Gemma4TextConfig

from training.elderwise import text

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
RANK = 16
SCALE = 20.0
LAYER_SCALAR = 0.75  # a released checkpoint has other values than one, so this has too
ROPE = {
    "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
    "full_attention": {
        "rope_type": "proportional",
        "partial_rotary_factor": 0.25,
        "rope_theta": 1000000.0,
    },
}
# what transformers and MLX default to differs: everything is said
CONFIG = {
    "vocab_size": text.VOCABULARY,
    "vocab_size_per_layer_input": text.VOCABULARY,
    "hidden_size": 192,
    "intermediate_size": 192,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "global_head_dim": 64,
    "layer_types": [
        "sliding_attention",
        "sliding_attention",
        "sliding_attention",
        "full_attention",
        "sliding_attention",
        "full_attention",
    ],
    "sliding_window": 64,
    "num_kv_shared_layers": 2,
    "use_double_wide_mlp": True,
    "hidden_size_per_layer_input": 16,
    "attention_k_eq_v": False,
    "enable_moe_block": False,
    "final_logit_softcapping": 30.0,
    "hidden_activation": "gelu_pytorch_tanh",
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 4096,
    "rope_parameters": ROPE,
    "tie_word_embeddings": True,
    "pad_token_id": text.PAD,
    "eos_token_id": text.EOS,
    "bos_token_id": text.BOS,
}


def make() -> Gemma4ForCausalLM:
    """Make an untrained model; attention is plain, since training it is faster on a CPU."""
    config = Gemma4TextConfig(**CONFIG)
    config._attn_implementation = "eager"
    model = Gemma4ForCausalLM(config)
    for name, weight in model.named_parameters():
        if "embed_tokens" in name:
            nn.init.normal_(weight, std=config.hidden_size**-0.5)
        elif weight.ndim > 1:
            nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
    for layer in model.model.layers:
        layer.layer_scalar.fill_(LAYER_SCALAR)
    return model


def freeze(model: Gemma4ForCausalLM) -> None:
    """Round every weight to the bfloat16 that is shipped, and train it no more."""
    for weight in model.parameters():
        weight.data = weight.data.bfloat16().float()
        weight.requires_grad_(False)


def per_layer(model: Gemma4ForCausalLM, ids: Tensor) -> Tensor:
    """Look up the per-layer inputs of ids `[B, T]`: `[B, T, layers, P]`."""
    return model.model.get_per_layer_inputs(ids, None)


def logits(model: Gemma4ForCausalLM, embeds: Tensor, side: Tensor) -> Tensor:
    """Predict from scaled embeddings and their per-layer inputs."""
    out: Tensor = model(inputs_embeds=embeds, per_layer_inputs=side, use_cache=False).logits
    return out


class Lora(nn.Module):
    """A frozen projection with a trained low-rank change beside it, as mlx-lm has it."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear
        limit = linear.in_features**-0.5
        self.lora_a = nn.Parameter(torch.empty(linear.in_features, RANK).uniform_(-limit, limit))
        self.lora_b = nn.Parameter(torch.zeros(RANK, linear.out_features))
        self.scale = SCALE

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, T, in]` to `[B, T, out]`."""
        out: Tensor = self.linear(x) + self.scale * ((x @ self.lora_a) @ self.lora_b)
        return out


def adapt(model: Gemma4ForCausalLM) -> dict[str, Lora]:
    """Wrap every projection that a layer has; layers that share keys and values have no k and v."""
    wrapped = {}
    for number, layer in enumerate(model.model.layers):
        for part, module in (("self_attn", layer.self_attn), ("mlp", layer.mlp)):
            for name in PROJECTIONS:
                if linear := getattr(module, name, None):
                    lora = Lora(linear)
                    setattr(module, name, lora)
                    wrapped[f"layers.{number}.{part}.{name}"] = lora
    return wrapped


def switch(adapters: dict[str, Lora], on: bool) -> None:
    """Turn the adapters on or off."""
    for lora in adapters.values():
        lora.scale = SCALE if on else 0.0
