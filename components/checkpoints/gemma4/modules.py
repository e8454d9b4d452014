"""The modules of a Gemma-4 decoder, for networks that read its tensors themselves."""

from __future__ import annotations

from collections.abc import Mapping

from composer.core.errors import Place, Problem
from composer.formats.quantization import Scheme

from ..ggml_blocks import block_scheme
from ..modules import Module, module_of
from .checkpoint import Gemma4Checkpoint
from .layout import stored_parts, tensor_shapes

MLX = "mlx.gemma4"


def read_modules(
    decoder: Gemma4Checkpoint, recipe: Mapping[str, Scheme] | None = None
) -> dict[str, Module]:
    """Return modules by path, the per-layer table among them.

    The scalar of a layer is a module too, whose only part is called weight. `recipe` is how floats
    are packed when they are read.
    """
    tensors, schemes = decoder.checkpoint.tensors, recipe or decoder.checkpoint.schemes
    found: dict[str, Module] = {}
    for name, sizes in tensor_shapes(decoder.settings).items():
        path = name.removesuffix(".weight")
        parts = stored_parts(tensors, path) or {"weight": tensors[name]}
        shape = tuple(size.value for size in sizes)
        scheme = schemes.get(path)
        if scheme is None and len(shape) == 2:
            scheme = block_scheme(parts["weight"])
        found[path] = module_of(path, shape, parts, scheme)
    return found


def unsupported_experts_problem(decoder: Gemma4Checkpoint) -> Problem:
    """Refuse a decoder with experts, which composer has no blocks for."""
    assert decoder.settings.experts
    count, _ = decoder.settings.experts
    return Problem(
        "W254",
        "composer has no network of its own for Gemma-4 with experts",
        Place(str(decoder.checkpoint.file)),
        (f"{count.label} comes from it",),
        hint=f"use {MLX}, which takes it",
    )
