"""Build mlx-lm's Gemma-4 and load it, except its per-layer table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from composer.core.errors import ComposerError, Problem
from composer.formats.quantization import Scheme

from ...checkpoints.gemma4.checkpoint import TABLE, Gemma4Checkpoint
from ...checkpoints.gemma4.text_part import HEADS
from ...checkpoints.ggml_affine import affine_schemes
from ...checkpoints.gguf.precision import COMPUTED, is_gguf
from ...checkpoints.head_copy import HEAD
from .. import loader
from ..gguf_weights import read_weights
from ..mlx_lm_package import model_module

INSIDE = "model."


def load_model(
    decoder: Gemma4Checkpoint, precision: str | None, recipe: Mapping[str, Scheme] | None
) -> Any:
    """Return the model; it takes scaled embeddings, and never looks up per-layer inputs."""
    gemma4_text = model_module("gemma4_text")
    model: Any = gemma4_text.Model(gemma4_text.ModelArgs(**decoder.settings.args))
    model.model.embed_scale = 1.0
    model.model.embed_tokens_per_layer = None
    model.model._get_per_layer_inputs = _refuse_lookup
    if is_gguf(decoder.checkpoint.location):
        read = read_weights(decoder.loaded, precision or COMPUTED)
        blocks = affine_schemes(decoder.loaded)
        return loader.load_weights_into(
            model,
            {_path(name): array for name, array in read.items()},
            {_path(name): scheme for name, scheme in blocks.items()},
        )
    schemes = recipe or decoder.checkpoint.schemes
    return loader.load_weights_into(
        model,
        _weights(decoder),
        {_path(name): scheme for name, scheme in schemes.items() if name != TABLE},
        precision,
        recipe and {_path(name): scheme for name, scheme in recipe.items()},
    )


def check_expert_dtype(
    decoder: Gemma4Checkpoint, recipe: Mapping[str, Scheme] | None, dtype: str, device: Any
) -> None:
    """Refuse experts in a dtype that MLX cannot multiply on a CPU, unless they are quantized."""
    import mlx.core as mx

    if dtype == "f32" or device.type != mx.DeviceType.cpu:
        return
    packed = recipe or decoder.checkpoint.schemes
    for name in decoder.loaded:
        path = name.removesuffix(".weight")
        if ".switch_glu." not in path or not path.endswith("_proj") or path in packed:
            continue
        raise ComposerError(
            Problem(
                "R555",
                f"MLX multiplies experts on a CPU in float32 alone, and this decoder is {dtype}",
                hint="say precision: float32, quantize the experts, or run it on a gpu",
            )
        )


def _weights(decoder: Gemma4Checkpoint) -> dict[str, Any]:
    """Return the weights by the model's own names, each read lazily."""
    import mlx.core as mx

    stored = loader.read_lazily(decoder.checkpoint.tensors.files)
    found: dict[str, Any] = {}
    for name in decoder.loaded:
        if name == HEAD:
            found[HEAD] = _head(stored)
            continue
        source = decoder.prefix + name
        if source in stored:
            found[_path(name)] = stored[source]
            continue
        base, _, part = name.removesuffix("_proj.weight").rpartition(".switch_glu.")
        if part == "down":
            found[_path(name)] = stored[f"{decoder.prefix}{base}.down_proj"]
        else:
            halves = mx.split(stored[f"{decoder.prefix}{base}.gate_up_proj"], 2, axis=-2)
            found[_path(name)] = mx.contiguous(halves[part == "up"])
    return found


def _path(name: str) -> str:
    """Return the name of a tensor or a module in mlx-lm's model."""
    if name.startswith("lm_head"):
        return name
    return f"{INSIDE}{name}"


def _head(stored: Mapping[str, Any]) -> Any:
    for name in HEADS:
        if name in stored:
            return stored[name]
    raise AssertionError("a head is loaded where one is stored")


def _refuse_lookup(*given: Any) -> NoReturn:
    raise ComposerError(
        Problem("R556", "per-layer inputs are missing, and cannot be derived from embeddings")
    )
