"""Gemma 3's text decoder: layers with a window between layers without, norms on both sides.

The formulas are those of transformers' Gemma3ForCausalLM. Embeddings come as their table has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ..checkpoints.config_keys.rope_faults import unread_type
from ..checkpoints.config_keys.window import FULL, SLIDING
from .attention import Attention
from .blocks import Array, DecoderBlocks
from .decoder import HEAD, TABLE, Architecture, Shape, linear
from .decoder_config import DecoderConfigReader
from .rotary import Rotary

GELU_TANH = ("gelu_pytorch_tanh", "gelu_new", "gelu_fast")
NORMS = (
    "input_layernorm",
    "post_attention_layernorm",
    "pre_feedforward_layernorm",
    "post_feedforward_layernorm",
)


@dataclass(frozen=True)
class Gemma3Settings:
    """The sizes of a decoder, how each layer attends, and what bounds its logits, if anything."""

    hidden_size: int
    intermediate_size: int
    vocab_size: int
    tied: bool
    rms_norm_eps: float
    layers: tuple[Attention, ...]
    attention_bias: bool
    qk_norm: bool
    final_softcap: float | None


def read_settings(config: DecoderConfigReader) -> Gemma3Settings:
    """Read what the network needs; where the config is silent, transformers' values count."""
    rotaries = _read_rotaries(config, config.count("head_dim", 256))
    final_softcap = None
    if config.value("final_logit_softcapping") is not None:
        final_softcap = config.real("final_logit_softcapping")
    kinds = _read_layer_types(config)
    return read_common_settings(config, kinds, rotaries, qk_norm=True, final_softcap=final_softcap)


def read_common_settings(
    config: DecoderConfigReader,
    kinds: Iterable[str],
    rotaries: Mapping[str, Rotary],
    *,
    qk_norm: bool,
    final_softcap: float | None,
    attention_softcap: float | None = None,
) -> Gemma3Settings:
    """Read what Gemma 2 and Gemma 3 have alike, for layers of these types."""
    for key in ("hidden_activation", "hidden_act"):
        config.require(key, *GELU_TANH)
    num_heads, num_kv_heads = config.heads(8, 4)
    head_dim = config.count("head_dim", 256)
    scale = config.real("query_pre_attn_scalar", 256.0) ** -0.5
    window = config.count("sliding_window", 4096)
    if "sliding_window" in config.values and config.values["sliding_window"] is None:
        config.wrong("sliding_window", "sliding_window is null; expected a whole number from 1")
    layers = []
    for kind in kinds:
        seen = window if kind == SLIDING else None
        rotary = rotaries[kind]
        layers.append(
            Attention(num_heads, num_kv_heads, head_dim, scale, rotary, seen, attention_softcap)
        )
    return Gemma3Settings(
        hidden_size=config.hidden_size,
        intermediate_size=config.count("intermediate_size"),
        vocab_size=config.vocab_size,
        tied=config.tied,
        rms_norm_eps=config.real("rms_norm_eps", 1e-6),
        layers=tuple(layers),
        attention_bias=config.flag("attention_bias"),
        qk_norm=qk_norm,
        final_softcap=final_softcap,
    )


def _read_layer_types(config: DecoderConfigReader) -> list[str]:
    """Return the type of each layer: as listed, or every sixth without a window."""
    num_layers = config.count("num_hidden_layers")
    pattern = config.count("sliding_window_pattern", 6)
    types = config.value("layer_types")
    if types is None:
        config.require("_sliding_window_pattern", pattern)
        return [SLIDING if (number + 1) % pattern else FULL for number in range(num_layers)]
    config.value("_sliding_window_pattern")
    return listed_types(config, types, num_layers)


def listed_types(config: DecoderConfigReader, types: Sequence[str], num_layers: int) -> list[str]:
    """Return the types that a config lists; report a list that does not name one for each layer."""
    if len(types) != num_layers or any(kind not in (SLIDING, FULL) for kind in types):
        message = f"layer_types has to name {SLIDING} or {FULL} for each of {num_layers} layers"
        config.wrong("layer_types", message)
        return [FULL] * num_layers
    return list(types)


def _read_rotaries(config: DecoderConfigReader, head_dim: int) -> dict[str, Rotary]:
    """Return how positions turn in layers of each type."""
    local = config.real("rope_local_base_freq", 1e4)
    if config.value("rope_parameters") is not None and "" in config.rules:
        config.refuse("has rope_parameters for each type of layer", "rope_parameters")
    rules = config.rules.get("")
    if rules and (fault := unread_type(config.values, rules.kind, rules.path[0])):
        config.problems.append(((*rules.path, "type"), fault))
    sliding = Rotary(head_dim, local)
    if SLIDING in config.rules:
        sliding = config.rotary(head_dim, local, SLIDING)
    return {FULL: config.rotary(head_dim, 1e6, FULL), SLIDING: sliding}


def tensors(settings: Gemma3Settings) -> Iterator[Shape]:
    """Yield the name and the shape of every tensor."""
    width, inner = settings.hidden_size, settings.intermediate_size
    yield f"{TABLE}.weight", (settings.vocab_size, width)
    for number, attn in enumerate(settings.layers):
        at = f"model.layers.{number}"
        queries, keys = attn.num_heads * attn.head_dim, attn.num_kv_heads * attn.head_dim
        for name in NORMS:
            yield f"{at}.{name}.weight", (width,)
        for name, size in (("q_proj", queries), ("k_proj", keys), ("v_proj", keys)):
            yield from linear(f"{at}.self_attn.{name}", size, width, settings.attention_bias)
        yield from linear(f"{at}.self_attn.o_proj", width, queries, settings.attention_bias)
        for name in ("q_norm", "k_norm") if settings.qk_norm else ():
            yield f"{at}.self_attn.{name}.weight", (attn.head_dim,)
        yield from linear(f"{at}.mlp.gate_proj", inner, width)
        yield from linear(f"{at}.mlp.up_proj", inner, width)
        yield from linear(f"{at}.mlp.down_proj", width, inner)
    yield "model.norm.weight", (width,)
    if not settings.tied:
        yield f"{HEAD}.weight", (settings.vocab_size, width)


def forward(
    nn: DecoderBlocks, settings: Gemma3Settings, x: Array, ahead: Array | None = None
) -> Array:
    """Map embeddings [T, D] to the logits [R, V] that follow the chosen rows.

    `ahead` [T] is how far behind each row its block ends, which is seen both ways in every layer.
    """
    x = x * settings.hidden_size**0.5
    for number in range(len(settings.layers)):
        x = nn.evaluate(layer(nn, settings, number, x, ahead))
    x = gemma_rms_norm(nn, settings, nn.chosen(x), "model.norm")
    logits = nn.linear(x, TABLE if settings.tied else HEAD)
    if settings.final_softcap is None:
        return logits
    return nn.tanh(logits / settings.final_softcap) * settings.final_softcap


def layer(
    nn: DecoderBlocks,
    settings: Gemma3Settings,
    number: int,
    x: Array,
    ahead: Array | None = None,
) -> Array:
    """Map hidden states [T, D] through one layer, each part normalized before and after."""
    at = f"model.layers.{number}"
    before, after, before_mlp, after_mlp = (f"{at}.{name}" for name in NORMS)
    y = attention(nn, settings, number, gemma_rms_norm(nn, settings, x, before), ahead)
    x = x + gemma_rms_norm(nn, settings, y, after)
    y = gemma_rms_norm(nn, settings, x, before_mlp)
    gate, up = nn.linears(y, [f"{at}.mlp.gate_proj", f"{at}.mlp.up_proj"])
    y = nn.linear(nn.gelu_tanh(gate) * up, f"{at}.mlp.down_proj")
    return x + gemma_rms_norm(nn, settings, y, after_mlp)


def attention(
    nn: DecoderBlocks,
    settings: Gemma3Settings,
    number: int,
    x: Array,
    ahead: Array | None = None,
) -> Array:
    """Let rows [T, D] attend to themselves and to those before them, as far as they see."""
    at, attn = f"model.layers.{number}.self_attn", settings.layers[number]
    q, k, values = nn.linears(x, [f"{at}.{name}_proj" for name in "qkv"])
    if settings.qk_norm:
        q = gemma_rms_norm(
            nn, settings, nn.reshape(q, -1, attn.num_heads, attn.head_dim), f"{at}.q_norm"
        )
        k = gemma_rms_norm(
            nn, settings, nn.reshape(k, -1, attn.num_kv_heads, attn.head_dim), f"{at}.k_norm"
        )
    return nn.linear(nn.cached_attention(q, k, values, number, attn, ahead), f"{at}.o_proj")


def gemma_rms_norm(nn: DecoderBlocks, settings: Gemma3Settings, x: Array, name: str) -> Array:
    """Normalize by the root mean square; what is stored is added to 1."""
    return nn.rms_norm(x, name, settings.rms_norm_eps, offset=1.0)


ARCHITECTURE = Architecture(
    ("gemma3_text",), read_settings, tensors, forward, bidirectional_blocks=True
)
