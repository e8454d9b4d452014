"""The tensors of a network's own part, as they are once its quantized matrices are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from composer.formats.quantization import Scheme
from composer.formats.safetensors import Tensor, TensorIndex

from . import packing
from .layout import LayoutChecker


def dequantized_headers(
    checker: LayoutChecker, config: Mapping[str, Any], prefix: str, own: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Scheme]]:
    """Return tensors with the shapes and dtypes that they have once dequantized, and the schemes.

    `own` are tensors by their short names; the config's quantization names modules by those, by
    the names that they are stored under, or with the prefix before them.
    """
    if not has_packed(own):
        return dict(own), {}
    files = tuple(dict.fromkeys(tensor.file for tensor in own.values()))
    index = TensorIndex(own, {}, files)
    schemes, problems = packing.read_schemes(
        checker.location, _own_config(config, prefix, own), index
    )
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
            dtype = scales.dtype if scheme.mode == "affine" else "f32"
            plain[name] = replace(tensor, shape=(*outer, scheme.unpacked(columns)), dtype=dtype)
    return plain, schemes


def has_packed(tensors: Mapping[str, Tensor]) -> bool:
    """Return whether a tensor is quantized."""
    for name, tensor in tensors.items():
        if name.endswith(".scales") or tensor.dtype == "u32":
            return True
    return False


def _own_config(
    config: Mapping[str, Any], prefix: str, own: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Return the config with the quantization of these modules alone, under their short names."""
    table = config.get("quantization")
    if not isinstance(table, dict):
        return dict(config)
    names = {}
    for name, tensor in own.items():
        names[tensor.name.rpartition(".")[0]] = name.rpartition(".")[0]
    found = {}
    for key, value in table.items():
        short = names.get(key, key.removeprefix(prefix))
        if not isinstance(value, dict | bool) or short in names.values():
            found[short] = value
    return {**config, "quantization": found}
