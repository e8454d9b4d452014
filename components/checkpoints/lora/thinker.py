"""Adapters of a whole Qwen3-ASR: which of their modules are a part's, as Mega-ASR names them.

Modules go by `thinker.audio_tower.*`, and those of the decoder by `thinker.model.layers.*` or
`thinker.layers.*`, which are the same ones: a module that is adapted under both names has both
updates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from composer.formats.safetensors import Tensor

ROOT = "thinker."
TOWER = f"{ROOT}audio_tower."
BEFORE_LAYERS = (ROOT, f"{ROOT}model.", TOWER)
_PEFT = "base_model.model."
_SIDE = re.compile(r"\.lora_(?:[ab]|[AB]\.weight)$")


def source_name(tensor: str) -> str:
    """Return the module of an adapter's tensor as its training named it."""
    return _SIDE.sub("", tensor).removeprefix(_PEFT)


def names_of(source: str) -> tuple[str, ...]:
    """Return the names that a config may give a module: as it was trained, then the model's own."""
    if source.startswith(f"{ROOT}layers."):
        return source, source.replace(ROOT, f"{ROOT}model.", 1)
    return (source,)


def own_tensors(tensors: Mapping[str, Tensor], tower: bool) -> dict[str, Tensor]:
    """Return the tensors of the audio tower or of the decoder, where an adapter has both.

    Those of the tower lose what stands before them.
    """
    found, whole = {}, any(source_name(name).startswith(ROOT) for name in tensors)
    for name, tensor in tensors.items():
        source = source_name(name)
        if not whole or source.startswith(TOWER) is tower:
            found[name] = tensor
    return found
