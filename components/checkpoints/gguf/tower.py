"""An encoder's tensors in a GGUF file: read as float32, whatever they are stored in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ..modules import Module

if TYPE_CHECKING:
    from composer.formats.safetensors import Tensor


def widened(stored: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Module]]:
    """Return tensors as they are in float32, and the modules whose weights are not stored so."""
    plain, modules = {}, {}
    for name, tensor in stored.items():
        path, _, part = name.rpartition(".")
        if tensor.dtype == "f32" or part != "weight":
            plain[name] = tensor
            continue
        plain[name] = replace(tensor, dtype="f32")
        modules[path] = Module(path, tensor.shape, {"weight": tensor}, None)
    return plain, modules
