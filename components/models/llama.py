"""Llama, Mistral, Qwen2 and Qwen3: pre-norm layers of grouped attention and a gated MLP.

The formulas are those of transformers' LlamaForCausalLM and its kin of those names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .attention import Attention
from .blocks import Array, DecoderBlocks
from .decoder import HEAD, TABLE, Architecture, Shape, linear
from .decoder_config import DecoderConfigReader


@dataclass(frozen=True)
class LlamaSettings:
    """The sizes of a decoder and how each of its layers attends.

    Biases are of queries, keys and values, of the attention's output, and of the MLP.
    """

    hidden_size: int
    intermediate_size: int
    vocab_size: int
    tied: bool
    rms_norm_eps: float
    layers: tuple[Attention, ...]
    qk_norm: bool
    qkv_bias: bool
    output_bias: bool
    mlp_bias: bool


def read_settings(config: DecoderConfigReader) -> LlamaSettings:
    """Read what a network of these kinds needs."""
    config.require("hidden_act", "silu", "swish")
    num_layers = config.count("num_hidden_layers")
    num_heads, num_kv_heads = config.heads()
    default = 128 if config.kind == "qwen3" else config.hidden_size // num_heads
    head_dim = config.count("head_dim", max(default, 1))
    rotary = config.rotary(head_dim)
    biased = config.flag("attention_bias") and config.kind in ("llama", "qwen3")
    return LlamaSettings(
        hidden_size=config.hidden_size,
        intermediate_size=config.count("intermediate_size"),
        vocab_size=config.vocab_size,
        tied=config.tied,
        rms_norm_eps=config.real("rms_norm_eps", 1e-6),
        layers=tuple(
            Attention(num_heads, num_kv_heads, head_dim, head_dim**-0.5, rotary, window)
            for window in config.window(num_layers)
        ),
        qk_norm=config.kind == "qwen3",
        qkv_bias=biased or config.kind == "qwen2",
        output_bias=biased,
        mlp_bias=config.kind == "llama" and config.flag("mlp_bias"),
    )


def tensors(settings: LlamaSettings) -> Iterator[Shape]:
    """Yield the name and the shape of every tensor."""
    width, inner = settings.hidden_size, settings.intermediate_size
    yield f"{TABLE}.weight", (settings.vocab_size, width)
    for number, attn in enumerate(settings.layers):
        at = f"model.layers.{number}"
        queries, keys = attn.num_heads * attn.head_dim, attn.num_kv_heads * attn.head_dim
        yield f"{at}.input_layernorm.weight", (width,)
        for name, size in (("q_proj", queries), ("k_proj", keys), ("v_proj", keys)):
            yield from linear(f"{at}.self_attn.{name}", size, width, settings.qkv_bias)
        if settings.qk_norm:
            yield f"{at}.self_attn.q_norm.weight", (attn.head_dim,)
            yield f"{at}.self_attn.k_norm.weight", (attn.head_dim,)
        yield from linear(f"{at}.self_attn.o_proj", width, queries, settings.output_bias)
        yield f"{at}.post_attention_layernorm.weight", (width,)
        for name in ("gate_proj", "up_proj"):
            yield from linear(f"{at}.mlp.{name}", inner, width, settings.mlp_bias)
        yield from linear(f"{at}.mlp.down_proj", width, inner, settings.mlp_bias)
    yield "model.norm.weight", (width,)
    if not settings.tied:
        yield f"{HEAD}.weight", (settings.vocab_size, width)


def forward(nn: DecoderBlocks, settings: LlamaSettings, x: Array) -> Array:
    """Map embeddings [T, D] to the logits [R, V] that follow the chosen rows."""
    for number in range(len(settings.layers)):
        x = nn.evaluate(layer(nn, settings, number, x))
    x = nn.rms_norm(nn.chosen(x), "model.norm", settings.rms_norm_eps)
    return nn.linear(x, TABLE if settings.tied else HEAD)


def layer(nn: DecoderBlocks, settings: LlamaSettings, number: int, x: Array) -> Array:
    """Map hidden states [T, D] through one layer."""
    at, eps = f"model.layers.{number}", settings.rms_norm_eps
    x = x + attention(nn, settings, number, nn.rms_norm(x, f"{at}.input_layernorm", eps))
    y = nn.rms_norm(x, f"{at}.post_attention_layernorm", eps)
    gate, up = nn.linears(y, [f"{at}.mlp.gate_proj", f"{at}.mlp.up_proj"])
    return x + nn.linear(nn.silu(gate) * up, f"{at}.mlp.down_proj")


def attention(nn: DecoderBlocks, settings: LlamaSettings, number: int, x: Array) -> Array:
    """Let rows [T, D] attend to themselves and to those before them."""
    at, attn = f"model.layers.{number}.self_attn", settings.layers[number]
    q, k, values = nn.linears(x, [f"{at}.{name}_proj" for name in "qkv"])
    if settings.qk_norm:
        q = nn.rms_norm(nn.reshape(q, -1, attn.num_heads, attn.head_dim),
                       f"{at}.q_norm", settings.rms_norm_eps)  # fmt: skip
        k = nn.rms_norm(nn.reshape(k, -1, attn.num_kv_heads, attn.head_dim),
                       f"{at}.k_norm", settings.rms_norm_eps)  # fmt: skip
    return nn.linear(nn.cached_attention(q, k, values, number, attn), f"{at}.o_proj")


ARCHITECTURE = Architecture(("llama", "mistral", "qwen2", "qwen3"), read_settings, tensors, forward)
