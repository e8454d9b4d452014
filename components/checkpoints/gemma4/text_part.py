"""Separate the text decoder's tensors from the rest of a Gemma-4 checkpoint."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..gguf.stored_forms import HalfOfJoined, tensor_values
from ..head_copy import HEAD
from ..rope import DERIVED

if TYPE_CHECKING:
    from composer.formats.safetensors import Tensor, TensorIndex

PREFIXES = ("language_model.model.", "model.language_model.", "model.")
HEADS = (HEAD, f"language_model.{HEAD}", f"model.{HEAD}")
TOWERS = (
    "vision_tower.", "audio_tower.", "embed_vision.", "embed_audio.", "multi_modal_projector.",
    "vision_embedder.",
)  # fmt: skip
SHARED_KV = re.compile(r"layers\.(\d+)\.self_attn\.([kv]_(?:proj|norm))\.")


def separate_tensors(
    index: TensorIndex, prefix: str
) -> tuple[dict[str, Tensor], list[Tensor], list[str]]:
    """Return the decoder's tensors under short names, those of nobody, and names of towers'.

    A tensor that is stored under two names is the decoder's once, and nobody's the second time.
    """
    text: dict[str, Tensor] = {}
    strange, towers = [], []
    for name, tensor in index.items():
        if name in HEADS or (name.startswith(prefix) and not name.startswith(_towers(prefix))):
            short = HEAD if name in HEADS else name.removeprefix(prefix)
            repeated = False
            for part in _split(replace(tensor, name=short)):
                if part.name in text:
                    repeated = True
                else:
                    text[part.name] = part
            if repeated:
                strange.append(tensor)
        elif name.startswith((*_towers(""), *_towers("model."))):
            towers.append(name)
        elif not DERIVED.search(name):
            strange.append(tensor)
    for name in filter(DERIVED.search, list(text)):
        del text[name]
    return text, strange, towers


def _towers(prefix: str) -> tuple[str, ...]:
    return tuple(prefix + tower for tower in TOWERS)


def _split(tensor: Tensor) -> Iterator[Tensor]:
    """Return an expert tensor of transformers as those that mlx-lm makes of it."""
    name = tensor.name
    if name.endswith(".experts.down_proj"):
        base = name.removesuffix("down_proj")
        yield replace(tensor, name=f"{base}switch_glu.down_proj.weight")
    elif name.endswith(".experts.gate_up_proj") and len(tensor.shape) == 3:
        count, both, wide = tensor.shape
        base = name.removesuffix("gate_up_proj")
        values = tensor_values(tensor)
        values |= {"shape": (count, both // 2, wide), "nbytes": tensor.nbytes // 2}
        for part in ("gate", "up"):
            values["name"] = f"{base}switch_glu.{part}_proj.weight"
            yield HalfOfJoined(**values, second=part == "up")
    else:
        yield tensor


def is_unused(name: str, first: int) -> bool:
    """Return whether a layer from `first` on, which shares earlier keys and values, has own."""
    match = SHARED_KV.match(name)
    return match is not None and int(match[1]) >= first


def own_config(config: dict[str, Any], prefix: str, used: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the config with the quantization of this decoder's modules, under short names."""
    table = config.get("quantization")
    if not isinstance(table, dict):
        return config
    modules = {name.rpartition(".")[0] for name in used}
    own = {}
    for key, value in table.items():
        short = key
        for each in (prefix, *PREFIXES):
            if key.startswith(each):
                short = key.removeprefix(each)
                break
        if key.removesuffix(".weight") + ".weight" in HEADS:
            short = HEAD.removesuffix(".weight")
        if not isinstance(value, dict | bool) or short in modules:
            own[short] = value
    return {**config, "quantization": own}
