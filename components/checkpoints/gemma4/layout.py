"""List the tensors that a Gemma-4 decoder has, and check those of a file against them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from composer.core.errors import Problem
from composer.core.suggest import some
from composer.formats.quantization import Scheme

from ..embedding_table import describe_tensor
from ..layout import count_are
from .settings import Gemma4Settings, LayerSettings, SizeWithSource

if TYPE_CHECKING:
    from composer.formats.safetensors import Tensor

Sizes = tuple[SizeWithSource, ...]
ONE = SizeWithSource(1, "1")
PARTS = ("weight", "scales", "biases")
MOST = 8  # wrong shapes that are reported one by one
NUMBER = re.compile(r"^layers\.\d+")


def stored_parts(tensors: Mapping[str, Tensor], path: str) -> dict[str, Tensor]:
    """Return the tensors of a module by their parts: its weight, and what quantized ones add."""
    parts = {}
    for part in PARTS:
        if tensor := tensors.get(f"{path}.{part}"):
            parts[part] = tensor
    return parts


def tensor_shapes(settings: Gemma4Settings) -> dict[str, Sizes]:
    """Return every tensor's shape, named from the layers' list on, as embed_tokens.weight."""
    wide, found = settings.hidden, dict[str, Sizes]()
    found["embed_tokens.weight"] = (settings.vocabulary, wide)
    found["norm.weight"] = (wide,)
    if not settings.args["tie_word_embeddings"]:
        found["lm_head.weight"] = (settings.vocabulary, wide)
    if settings.per_layer.value:
        rows = SizeWithSource(len(settings.layers), f"num_hidden_layers {len(settings.layers)}")
        rows *= settings.per_layer
        found["embed_tokens_per_layer.weight"] = (settings.vocabulary, rows)
        found["per_layer_model_projection.weight"] = (rows, wide)
        found["per_layer_projection_norm.weight"] = (settings.per_layer,)
    for number, layer in enumerate(settings.layers):
        for name, sizes in _layer(settings, layer):
            found[f"layers.{number}.{name}"] = sizes
    return found


def _layer(settings: Gemma4Settings, layer: LayerSettings) -> Iterator[tuple[str, Sizes]]:
    wide, head = settings.hidden, layer.head_dim
    queries, keys = settings.heads * head, layer.kv_heads * head
    yield "layer_scalar", (ONE,)
    norms = ["input_layernorm", "post_attention_layernorm"]
    norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    yield "self_attn.q_proj.weight", (queries, wide)
    yield "self_attn.o_proj.weight", (wide, queries)
    yield "self_attn.q_norm.weight", (head,)
    if not layer.shares_kv:
        yield "self_attn.k_proj.weight", (keys, wide)
        yield "self_attn.k_norm.weight", (head,)
        if not (settings.keys_are_values and layer.full):
            yield "self_attn.v_proj.weight", (keys, wide)
    yield "mlp.gate_proj.weight", (layer.width, wide)
    yield "mlp.up_proj.weight", (layer.width, wide)
    yield "mlp.down_proj.weight", (wide, layer.width)
    if settings.experts:
        count, width = settings.experts
        norms += ["post_feedforward_layernorm_1", "post_feedforward_layernorm_2"]
        norms += ["pre_feedforward_layernorm_2"]
        yield "router.proj.weight", (count, wide)
        yield "router.scale", (wide,)
        yield "router.per_expert_scale", (count,)
        yield "experts.switch_glu.gate_proj.weight", (count, width, wide)
        yield "experts.switch_glu.up_proj.weight", (count, width, wide)
        yield "experts.switch_glu.down_proj.weight", (count, wide, width)
    if settings.per_layer.value:
        norms.append("post_per_layer_input_norm")
        yield "per_layer_input_gate.weight", (settings.per_layer, wide)
        yield "per_layer_projection.weight", (wide, settings.per_layer)
    for norm in norms:
        yield f"{norm}.weight", (wide,)


def layout_problems(
    wanted: Mapping[str, Sizes],
    tensors: Mapping[str, Tensor],
    schemes: Mapping[str, Scheme],
    at: str,
) -> Iterator[Problem]:
    """Report tensors that are missing, that no part of the model has, and of another shape.

    A quantized module is checked by the shape that its packed weight stands for. `at` says where
    the tensors are, up to their names.
    """
    packed = set()
    for path in schemes:
        for part in PARTS:
            if f"{path}.weight" in wanted:
                packed.add(f"{path}.{part}")
    if missing := [name for name in wanted if name not in tensors]:
        first = missing[0]
        yield Problem(
            "W277",
            f"{count_are(missing)} missing: {some(missing)}",
            causes=(
                f"config.json makes {first} {_values(wanted[first])}: {_text(wanted[first])}",
                f"{at}* are {len(tensors)} tensors, and none has that name",
            ),
            hint="fetch the whole checkpoint, or give the config.json that belongs to it",
        )
    known = packed | wanted.keys()
    if more := [name for name in tensors if name not in known]:
        layers = len({name.split(".")[1] for name in wanted if name.startswith("layers.")})
        yield Problem(
            "W278",
            f"{count_are(more)} no part of this decoder: {some(more)}",
            causes=(
                f"{at}{describe_tensor(tensors[more[0]])} is there",
                f"config.json makes {len(wanted)} tensors in {layers} layers, and none of that "
                "name",
            ),
            hint="give the config.json that belongs to the weights, or take the tensors out",
        )
    yield from _misshapen(wanted, tensors, schemes, at)


def _misshapen(
    wanted: Mapping[str, Sizes],
    tensors: Mapping[str, Tensor],
    schemes: Mapping[str, Scheme],
    at: str,
) -> Iterator[Problem]:
    """Report wrong shapes, one that several layers have only once."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for name, sizes in wanted.items():
        if name in tensors and (shape := _shape(tensors[name], schemes)) != _values(sizes):
            same = (NUMBER.sub("layers.*", name), str(shape), str(_values(sizes)))
            found.setdefault(same, []).append(name)
    for (_, shown, values), names in list(found.items())[:MOST]:
        first = names[0]
        message = f"{first} is {shown}, but config.json makes it {values}"
        if len(names) > 1:
            message += f", in {len(names)} layers"
        yield Problem(
            "W279",
            message,
            causes=(
                f"{shown} comes from {at}{describe_tensor(tensors[first])}",
                f"{values} comes from config.json: {_text(wanted[first])}",
            ),
        )
    if len(found) > MOST:
        yield Problem("W279", f"{len(found) - MOST} more tensors have another shape")


def _shape(tensor: Tensor, schemes: Mapping[str, Scheme]) -> list[int]:
    shape = list(tensor.shape)
    scheme = schemes.get(tensor.name.removesuffix(".weight"))
    if scheme and shape:
        shape[-1] = scheme.unpacked(shape[-1])
    return shape


def _values(sizes: Sizes) -> list[int]:
    return [size.value for size in sizes]


def _text(sizes: Sizes) -> str:
    return ", ".join(size.label for size in sizes)
