"""Build a model of mlx-lm and load it strictly, one tensor at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from composer.core.errors import ComposerError, Problem
from composer.core.suggest import some
from composer.formats.quantization import Scheme

from ..checkpoints import packing
from ..checkpoints.ggml_affine import affine_schemes
from ..checkpoints.gguf.precision import COMPUTED, is_gguf
from ..checkpoints.layout import count_are
from ..checkpoints.rope import DERIVED
from .dtypes import mlx_dtype as to_dtype
from .gguf_weights import read_weights
from .mlx_lm_package import model_module
from .mlx_lm_patches import add_window, pass_ids_with_embeddings, take_embeddings
from .mlx_lm_support import IDS_ALONE, mlx_lm_module_name

if TYPE_CHECKING:
    from composer.core.location import Location

    from .checkpoint import MlxCheckpoint


def load_model(
    checkpoint: MlxCheckpoint,
    precision: str | None = None,
    recipe: Mapping[str, Scheme] | None = None,
) -> Any:
    """Return the model of a checkpoint, with every tensor used and none missing.

    `recipe` is how modules are quantized during loading.
    """
    model = build_model_without_weights(checkpoint)
    if is_gguf(checkpoint.location):
        weights = sanitize(model, read_weights(checkpoint.tensors, precision or COMPUTED))
        return load_weights_into(model, weights, affine_schemes(checkpoint.tensors))
    stored = read_lazily(checkpoint.tensors.files)
    weights = {name: stored[checkpoint.names.stored(name)] for name in checkpoint.tensors}
    del stored
    weights = sanitize(model, weights)
    return load_weights_into(model, weights, recipe or checkpoint.schemes, precision, recipe)


def load_weights_into(
    model: Any,
    weights: dict[str, Any],
    schemes: Mapping[str, Scheme],
    precision: str | None = None,
    recipe: Mapping[str, Scheme] | None = None,
) -> Any:
    """Load weights into a model, removing them from `weights` one by one, and return it.

    `schemes` is how each quantized module is packed, `recipe` which of them are packed only
    now. `precision` converts floats, scales and biases included. Each tensor is computed
    and its source dropped before the next is read, so that the peak is the model and one tensor.
    """
    import mlx.core as mx
    import mlx.nn
    from mlx.utils import tree_flatten

    nn: Any = mlx.nn
    modules = dict(model.named_modules())
    if unknown := [path for path in schemes if not hasattr(modules.get(path), "to_quantized")]:
        raise ComposerError(
            Problem(
                "R511",
                f"{len(unknown)} modules are quantized, but the model has no such modules: "
                f"{some(unknown)}",
            )
        )
    del modules
    nn.quantize(
        model, class_predicate=lambda path, _: path in schemes and quantize_arguments(schemes[path])
    )
    if recipe:
        for path, scheme in recipe.items():
            if f"{path}.weight" in weights:
                arrays = mx.quantize(weights[f"{path}.weight"], **quantize_arguments(scheme))
                for part, array in zip(packing.PARTS, arrays, strict=False):
                    weights[f"{path}.{part}"] = array  # no biases but affine ones
                del arrays, array
    parameters: Any = tree_flatten(model.parameters(), destination={})
    expected = _shapes(parameters)
    del parameters
    _compare(_shapes(weights), expected)
    castable = getattr(model, "cast_predicate", lambda name: True)
    loaded = []
    for name in list(weights):
        value = weights.pop(name)
        if precision and mx.issubdtype(value.dtype, mx.floating) and castable(name):
            value = value.astype(to_dtype(precision))
        mx.eval(value)
        loaded.append((name, value))
    model.load_weights(loaded, strict=True)
    model.eval()
    return model


def quantize_arguments(scheme: Scheme) -> dict[str, Any]:
    """Return a scheme as the keywords of MLX."""
    return {"group_size": scheme.group_size, "bits": scheme.bits, "mode": scheme.mode}


def build_model_without_weights(checkpoint: MlxCheckpoint) -> Any:
    """Build mlx-lm's model for a config, without computing its weights."""
    config = dict(checkpoint.mlx_config.config)
    name = mlx_lm_module_name(config)
    module = model_module(name)
    try:
        model = module.Model(module.ModelArgs.from_dict(config))
    except Exception as error:  # whatever an architecture makes of a config that it cannot use
        raise ComposerError(
            Problem(
                "R515",
                f"mlx-lm's {name} cannot be built from {checkpoint.file}: {error}",
            )
        ) from error
    add_window(model, checkpoint.mlx_config.window, arrays=name in IDS_ALONE)
    if name in IDS_ALONE:
        take_embeddings(model)
    if checkpoint.mlx_config.takes_length_from_ids:
        pass_ids_with_embeddings(model)
    return model


def make_embedder(model: Any, dtype: str) -> Callable[[Any], Any]:
    """Return a function from ids [T] to embeddings [T, D] of a dtype.

    A microscaled table (mxfp4, mxfp8, nvfp4) returns bfloat16, whatever the model runs in. The
    table is looked for at each call: adapters may stand for it.
    """
    found = [module for _, module in model.named_modules() if "embed_tokens" in module]
    if len(found) != 1:
        raise ComposerError(
            Problem(
                "R517",
                f"mlx-lm's {model.model_type} has {len(found)} modules named embed_tokens; "
                "one is wanted",
                hint="such an architecture needs a component that knows its convention",
            )
        )
    parent = found[0]
    kind = to_dtype(dtype)
    return lambda ids: parent["embed_tokens"](ids).astype(kind)


def read_lazily(files: Iterable[Location]) -> dict[str, Any]:
    """Return every tensor of some files, read lazily."""
    import mlx.core as mx

    weights: dict[str, Any] = {}
    for file in files:
        assert isinstance(file.path, Path)
        loaded: Any = mx.load(str(file.path))
        weights.update(loaded)
    return weights


def sanitize(model: Any, weights: dict[str, Any]) -> dict[str, Any]:
    """Rename tensors by the architecture's own rules; refuse if that drops some.

    Stored angles of positions go, wherever they are: the config says them.
    """
    weights = {name: value for name, value in weights.items() if not DERIVED.search(name)}
    if not hasattr(model, "sanitize"):
        return weights
    before = set(weights)
    try:
        after: dict[str, Any] = model.sanitize(weights)
    except Exception as error:  # whatever an architecture makes of tensors that it does not expect
        raise ComposerError(
            Problem(
                "R511",
                f"mlx-lm's {model.model_type} cannot rename these tensors: {error!r}",
                hint="give weights that mlx_lm.convert has written",
            )
        ) from error
    dropped = sorted(before - after.keys())
    if dropped and after.keys() <= before:
        raise ComposerError(
            Problem(
                "R511",
                f"{len(dropped)} tensors are not part of the language model: {some(dropped)}",
                hint="mlx.lm takes a language model alone: extract it from the checkpoint",
            )
        )
    return after


def _shapes(arrays: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(array.shape) for name, array in arrays.items()}


def _compare(found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ComposerError unless names and shapes are the same."""
    problems = []
    for label, names in (
        ("missing", sorted(expected.keys() - found.keys())),
        ("unexpected", sorted(found.keys() - expected.keys())),
    ):
        if names:
            problems.append(Problem("R511", f"{count_are(names)} {label}: {some(names)}"))
    for name in sorted(found.keys() & expected.keys()):
        if found[name] != expected[name]:
            problems.append(
                Problem(
                    "R511",
                    f"{name} has the shape {list(found[name])}, "
                    f"but the model has {list(expected[name])}",
                )
            )
    if problems:
        raise ComposerError(problems[:12])
