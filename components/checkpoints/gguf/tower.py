"""Encoders in GGUF files: beside a decoder, as CrispASR has them, or in a file of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from composer.core.errors import ComposerError, Place, Problem
from composer.core.suggest import listed
from composer.formats.file_problems import show
from composer.formats.gguf import SUFFIX as GGUF

from ..modules import Module
from . import mmproj, qwen3_asr
from .decoder_file import read_decoder_file
from .parts import all_tensors

if TYPE_CHECKING:
    from composer.core.component import Spec
    from composer.core.location import Location
    from composer.formats import Headers
    from composer.formats.safetensors import Tensor

    from ..layout import LayoutChecker


def read_tower_file(
    file: Location, headers: Headers
) -> tuple[dict[str, Any], Mapping[str, Tensor]]:
    """Return the config and the tensors of a file by a release's names; refuse other encoders."""
    metadata = headers.gguf(file).metadata
    if metadata.get("general.architecture") != mmproj.ARCHITECTURE:
        return read_decoder_file(file, headers)
    stored = all_tensors(file, headers)
    if metadata.get(f"{mmproj.AUDIO}{mmproj.KIND}") == qwen3_asr.KIND:
        return qwen3_asr.release_config(metadata), qwen3_asr.release_tensors(stored)
    config = mmproj.release_config(metadata, stored)
    if not config:
        kinds = [show(str(metadata[key])) for key in mmproj.KINDS if key in metadata]
        message = f"is a file of encoders of the kind {' and '.join(kinds) or 'that it leaves out'}"
        cause = f"read are {listed(sorted([*mmproj.KINDS.values(), qwen3_asr.KIND]))}"
        raise ComposerError(Problem("W241", message, Place(str(file)), (cause,)))
    return config, mmproj.release_tensors(stored)


def widened(
    checker: LayoutChecker, spec: Spec, stored: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Module]]:
    """Return the tensors of a tower in float32, and the modules whose weights are not stored so.

    Nothing changes where they are in safetensors.
    """
    assert spec.weights is not None
    if not spec.weights.inside.endswith(GGUF):
        return dict(stored), {}
    if spec.recipe is not None:
        checker.report("W246", f"{checker.what} in a GGUF file is not quantized again")
    plain, modules = {}, {}
    for name, tensor in stored.items():
        path, _, part = name.rpartition(".")
        if tensor.dtype == "f32" or part != "weight":
            plain[name] = tensor
            continue
        plain[name] = replace(tensor, dtype="f32")
        modules[path] = Module(path, tensor.shape, {"weight": tensor}, None)
    return plain, modules
