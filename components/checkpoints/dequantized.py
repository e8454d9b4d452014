"""The tensors of a network's own part, as they are once its quantized matrices are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from composer.formats.quantization import Scheme
from composer.formats.safetensors import Tensor, TensorIndex

from . import packing
from .gemma4.text_part import own_config
from .layout import LayoutChecker


def dequantized_headers(
    checker: LayoutChecker, config: Mapping[str, Any], prefix: str, own: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Scheme]]:
    """Return tensors with the shapes and dtypes that they have once dequantized, and the schemes.

    `own` are tensors by their short names; the config's quantization names modules by those, or
    with the prefix before them.
    """
    if not _has_packed(own):
        return dict(own), {}
    config = own_config(dict(config), prefix, own)
    files = tuple(dict.fromkeys(tensor.file for tensor in own.values()))
    schemes, problems = packing.schemes(checker.location, config, TensorIndex(own, {}, files))
    checker.problems += [replace(each, place=None) for each in problems]
    plain = {}
    for name, tensor in own.items():
        path, _, part = name.rpartition(".")
        scheme = schemes.get(path)
        if scheme is None or part not in packing.PARTS:
            plain[name] = tensor
        elif part == "weight" and tensor.shape:
            *outer, columns = tensor.shape
            scales = own.get(f"{path}.scales", tensor)
            shape = (*outer, scheme.unpacked(columns))
            plain[name] = replace(tensor, shape=shape, dtype=scales.dtype)
    return plain, schemes


def _has_packed(tensors: Mapping[str, Tensor]) -> bool:
    for name, tensor in tensors.items():
        if name.endswith(".scales") or tensor.dtype == "u32":
            return True
    return False
