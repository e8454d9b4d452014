"""Count the weights of a checkpoint by what they do and how they are packed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING

from composer.core.ports import item_bytes
from composer.core.weight_group import WeightGroup
from composer.formats.quantization import Scheme

from .embedding_table import FLOATS
from .ggml_blocks import SIZES
from .packing import ATTENTION, MLP, PARTS

if TYPE_CHECKING:
    from composer.formats.safetensors import Tensor

KINDS = (  # what a module does, by the first of these that is a part of its path
    ("experts", ("experts",)),
    ("router", ("router",)),
    ("per-layer table", ("embed_tokens_per_layer",)),
    ("embeddings", ("embed_tokens",)),
    ("head", ("lm_head",)),
    ("attention", ATTENTION),
    ("MLP", (*MLP, "fc1", "fc2")),
)
OTHERS = "others"
PER_LAYER = "per-layer path"


@dataclass
class _Count:
    paths: set[str] = field(default_factory=set)
    numbers: int = 0
    nbytes: int = 0


def weight_groups(
    tensors: Mapping[str, Tensor],
    schemes: Mapping[str, Scheme],
    recipe: Mapping[str, Scheme] | None = None,
    dtype: str | None = None,
) -> tuple[WeightGroup, ...]:
    """Return the groups of some tensors, in the order of a network.

    `schemes` is how modules are packed in their file, `recipe` which are packed when they are
    loaded, and `dtype` what floats are then converted to.
    """
    counts: dict[tuple[str, str, bool], _Count] = {}
    for name, tensor in tensors.items():
        path, _, part = name.rpartition(".")
        stored = schemes.get(path) if part in PARTS else None
        made = (recipe or {}).get(path) if part == "weight" else None
        scheme = stored or made
        form = scheme.title if scheme else _float(tensor, dtype)
        count = counts.setdefault((module_kind(path), form, scheme is not None), _Count())
        count.paths.add(path)
        numbers = prod(tensor.shape)
        if stored:
            numbers = stored.unpacked(numbers) if part == "weight" else 0
        count.numbers += numbers
        if made:
            count.nbytes += made.nbytes(numbers, item_bytes(dtype or tensor.dtype))
        else:
            count.nbytes += _loaded_nbytes(tensor, dtype)
    order = [*(kind for kind, _ in KINDS), PER_LAYER, OTHERS]
    found = []
    for (kind, form, packed), c in counts.items():
        found.append(WeightGroup(kind, form, packed, len(c.paths), c.numbers, c.nbytes))
    return tuple(sorted(found, key=lambda group: order.index(group.kind)))


def module_kind(path: str) -> str:
    """Return what a module does, by its path."""
    parts = path.split(".")
    for kind, names in KINDS:
        if any(name in parts for name in names):
            return kind
    return PER_LAYER if any(part.startswith("per_layer_") for part in parts) else OTHERS


def _loaded_nbytes(tensor: Tensor, dtype: str | None) -> int:
    if dtype and tensor.dtype in (*FLOATS, *SIZES):
        return prod(tensor.shape) * item_bytes(dtype)
    return tensor.nbytes


def _float(tensor: Tensor, dtype: str | None) -> str:
    return dtype if dtype and tensor.dtype in (*FLOATS, *SIZES) else tensor.dtype
