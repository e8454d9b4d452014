"""Gemma-4's text decoder: per-layer inputs, layers that share keys and values, two sizes of heads.

The formulas are those of transformers' Gemma4ForCausalLM. Embeddings and the rows of the per-layer
table come scaled, as the residual stream takes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from composer.core.errors import ComposerError
from composer.formats.quantization import Scheme
from composer.generation.decoder import AHEAD

from ..checkpoints.gemma4 import settings as stated
from ..checkpoints.gemma4.checkpoint import TABLE as ROWS
from ..checkpoints.gemma4.checkpoint import Gemma4Checkpoint
from ..checkpoints.gemma4.modules import read_modules, unsupported_experts_problem
from ..checkpoints.modules import Module
from .attention import Attention
from .blocks import Array, DecoderBlocks
from .decoder import HEAD, ParsedDecoder
from .rotary import ProportionalRotary, Rotary

TABLE = "embed_tokens"


@dataclass(frozen=True)
class Gemma4NetworkSettings:
    """How each layer attends, and the number of the layer whose keys and values it takes.

    `keys_are_values` says which layers have no values but their keys. `per_layer` is the width of
    per-layer inputs, 0 without them; `final_softcap` bounds the logits, if anything does. Where it
    is `bidirectional`, the rows of a picture see each other in layers with a window.
    """

    hidden_size: int
    tied: bool
    rms_norm_eps: float
    layers: tuple[Attention, ...]
    sources: tuple[int, ...]
    keys_are_values: tuple[bool, ...]
    per_layer: int
    final_softcap: float | None
    bidirectional: bool = False


@dataclass(frozen=True)
class Gemma4Decoder(ParsedDecoder):
    """A checkpoint that is understood; `rows` is its per-layer table, which stays in its file."""

    rows: Module | None = None

    @property
    def mapped(self) -> int:
        if self.rows is None:
            return super().mapped
        return super().mapped + self.rows.stored_nbytes


def read_gemma4(
    decoder: Gemma4Checkpoint,
    int8_activations: bool = False,
    recipe: Mapping[str, Scheme] | None = None,
) -> Gemma4Decoder:
    """Return what the network needs; raise ComposerError for what it would not compute.

    `recipe` is how modules that are stored as floats are packed when they are read.
    """
    if decoder.settings.experts:
        raise ComposerError(unsupported_experts_problem(decoder))
    modules = read_modules(decoder, recipe)
    settings, rows = read_settings(decoder.settings), modules.pop(ROWS, None)
    inputs: dict[str, tuple[int, ...]] = {}
    if rows:
        inputs["per_layer"] = (len(settings.layers), settings.per_layer)
    if settings.bidirectional:
        inputs[AHEAD] = ()
    return Gemma4Decoder(
        decoder.checkpoint,
        forward,
        settings,
        decoder.settings.args["max_position_embeddings"],
        modules,
        decoder.names,
        int8_activations,
        inputs,
        recipe or {},
        rows,
    )


def read_settings(found: stated.Gemma4Settings) -> Gemma4NetworkSettings:
    """Return what the network needs of a checkpoint's settings."""
    last: dict[str, int] = {}  # layer of each kind that has keys and values of its own
    layers, sources, keys_are_values = [], [], []
    for number, layer in enumerate(found.layers):
        if not layer.shares_kv:
            last[layer.kind] = number
        layers.append(read_attention(found, layer))
        sources.append(last[layer.kind])
        keys_are_values.append(found.keys_are_values and layer.full)
    return Gemma4NetworkSettings(
        hidden_size=found.hidden.value,
        tied=found.args["tie_word_embeddings"],
        rms_norm_eps=found.args["rms_norm_eps"],
        layers=tuple(layers),
        sources=tuple(sources),
        keys_are_values=tuple(keys_are_values),
        per_layer=found.per_layer.value,
        final_softcap=found.args["final_logit_softcapping"],
        bidirectional=found.bidirectional,
    )


def read_attention(found: stated.Gemma4Settings, layer: stated.LayerSettings) -> Attention:
    """Return how a layer attends, which its type says."""
    rope: Mapping[str, Any] = found.args["rope_parameters"][layer.kind]
    head_dim, rotary = layer.head_dim.value, Rotary(layer.head_dim.value, rope["rope_theta"])
    if rope["rope_type"] != "default":
        rule = ProportionalRotary(rope.get("partial_rotary_factor", 1.0), rope.get("factor", 1.0))
        rotary = Rotary(head_dim, rope["rope_theta"], rule)
    window = None if layer.full else found.args["sliding_window"]
    return Attention(found.heads.value, layer.kv_heads.value, head_dim, 1.0, rotary, window)


def forward(
    nn: DecoderBlocks,
    settings: Gemma4NetworkSettings,
    x: Array,
    per_layer: Array | None = None,
    ahead: Array | None = None,
) -> Array:
    """Map embeddings [T, D] and per-layer rows [T, L, P] to logits [R, V] of the chosen rows.

    Only these go through the last layers, which remember nothing. `ahead` [T] is how far behind
    each row its picture ends, which is seen whole where there is a window.
    """
    rows = None
    if per_layer is not None:
        rows = per_layer_inputs(nn, settings, x, per_layer)
    only_chosen = False
    for number, source in enumerate(settings.sources):
        if source != number and not only_chosen:
            only_chosen, x = True, nn.chosen(x)
            if rows is not None:
                rows = nn.chosen(rows)
        x = nn.evaluate(layer(nn, settings, number, x, rows, ahead))
    if not only_chosen:
        x = nn.chosen(x)
    x = nn.rms_norm(x, "norm", settings.rms_norm_eps)
    logits = nn.linear(x, TABLE if settings.tied else HEAD)
    if settings.final_softcap is None:
        return logits
    return nn.tanh(logits / settings.final_softcap) * settings.final_softcap


def per_layer_inputs(
    nn: DecoderBlocks, settings: Gemma4NetworkSettings, x: Array, rows: Array
) -> Array:
    """Return each layer's input [T, L, P]: its row of the table, and what it reads of x."""
    context = nn.linear(x, "per_layer_model_projection") * settings.hidden_size**-0.5
    context = nn.reshape(context, -1, len(settings.layers), settings.per_layer)
    context = nn.rms_norm(context, "per_layer_projection_norm", settings.rms_norm_eps)
    return (context + rows) * 2**-0.5


def layer(
    nn: DecoderBlocks,
    settings: Gemma4NetworkSettings,
    number: int,
    x: Array,
    rows: Array | None,
    ahead: Array | None = None,
) -> Array:
    """Map hidden states [T, D] through one layer, each part normalized before and after."""
    at, eps = f"layers.{number}", settings.rms_norm_eps
    y = attention(nn, settings, number, nn.rms_norm(x, f"{at}.input_layernorm", eps), ahead)
    x = x + nn.rms_norm(y, f"{at}.post_attention_layernorm", eps)
    y = nn.rms_norm(x, f"{at}.pre_feedforward_layernorm", eps)
    gate, up = nn.linears(y, [f"{at}.mlp.gate_proj", f"{at}.mlp.up_proj"])
    y = nn.linear(nn.gelu_tanh(gate) * up, f"{at}.mlp.down_proj")
    x = x + nn.rms_norm(y, f"{at}.post_feedforward_layernorm", eps)
    if rows is not None:
        own = nn.gather(nn.transpose(rows, 1, 0, 2), nn.constant(np.array([number])))
        own = nn.reshape(own, -1, settings.per_layer)
        y = nn.gelu_tanh(nn.linear(x, f"{at}.per_layer_input_gate")) * own
        y = nn.linear(y, f"{at}.per_layer_projection")
        x = x + nn.rms_norm(y, f"{at}.post_per_layer_input_norm", eps)
    return x * nn.weight(f"{at}.layer_scalar.weight")


def attention(
    nn: DecoderBlocks,
    settings: Gemma4NetworkSettings,
    number: int,
    x: Array,
    ahead: Array | None = None,
) -> Array:
    """Let rows [T, D] attend to themselves and to those before them, as far as they see."""
    at, attn, eps = f"layers.{number}.self_attn", settings.layers[number], settings.rms_norm_eps
    source = settings.sources[number]
    if source != number:
        q = nn.reshape(nn.linear(x, f"{at}.q_proj"), -1, attn.num_heads, attn.head_dim)
        q = nn.rms_norm(q, f"{at}.q_norm", eps)
        return nn.linear(nn.chosen_attention(q, source, attn), f"{at}.o_proj")
    names = "qk" if settings.keys_are_values[number] else "qkv"
    q, k, *rest = nn.linears(x, [f"{at}.{name}_proj" for name in names])
    q = nn.reshape(q, -1, attn.num_heads, attn.head_dim)
    k = nn.reshape(k, -1, attn.num_kv_heads, attn.head_dim)
    v = nn.reshape(rest[0], -1, attn.num_kv_heads, attn.head_dim) if rest else k
    q, k = nn.rms_norm(q, f"{at}.q_norm", eps), nn.rms_norm(k, f"{at}.k_norm", eps)
    v = nn.rms_norm(v, None, eps)
    if attn.window is None:
        ahead = None
    return nn.linear(nn.cached_attention(q, k, v, number, attn, ahead), f"{at}.o_proj")
