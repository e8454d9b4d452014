"""Adapters that PEFT saved inside the checkpoint that they adapt, as Phi-4 Multimodal has them.

A module that is adapted is stored as `q_proj.base_layer.weight`, and an adapter called speech
beside it as `q_proj.lora_A.speech.weight` [r, in] and `q_proj.lora_B.speech.weight` [out, r].
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from composer.formats.safetensors import TensorIndex

if TYPE_CHECKING:
    from composer.formats.safetensors import Tensor

BASE = "base_layer"
PEFT_MODEL = "base_model.model."  # what PEFT puts between where it wrapped a model as a whole
LORA = re.compile(r"(?P<module>.+)\.lora_(?P<side>[AB])\.(?P<adapter>\w+)\.weight")


def adapter_of(name: str) -> str | None:
    """Return which adapter a stored tensor is of, None where it is of none."""
    match = LORA.fullmatch(name)
    return match["adapter"] if match else None


def wrapped_modules(names: Collection[str]) -> frozenset[str]:
    """Return the stored names of modules whose own tensors stand under `base_layer`."""
    found = set()
    for name in names:
        module, base, _ = name.partition(f".{BASE}.")
        if base:
            found.add(module)
    return frozenset(found)


def adapter_tensors(index: Mapping[str, Tensor], adapter: str) -> TensorIndex:
    """Return the tensors of one adapter by the names that PEFT gives them in a file of its own."""
    found: dict[str, Tensor] = {}
    for name, tensor in index.items():
        match = LORA.fullmatch(name)
        if match and match["adapter"] == adapter:
            module = match["module"].replace(PEFT_MODEL, "")
            found[f"{module}.lora_{match['side']}.weight"] = tensor
    files = tuple(dict.fromkeys(tensor.file for tensor in found.values()))
    return TensorIndex(found, {}, files)
