"""What the tensors of a stack of layers say, checked against the layers that are asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from composer.core.backend import SHORT
from composer.core.component import Bound, Spec
from composer.core.errors import ComposerError, Place, Problem
from composer.core.suggest import some

from ..embedding_table import FLOATS, describe
from .config import StackConfig
from .layers import PARTS
from .widths import Widths

if TYPE_CHECKING:
    from composer.core.location import Location
    from composer.formats import Headers
    from composer.formats.safetensors import Tensor, TensorIndex


@dataclass(frozen=True)
class Shape:
    """What the headers say of a stack: each layer's tensors, and the widths at its ends."""

    files: tuple[Location, ...]
    layers: tuple[dict[str, Tensor], ...]
    width_in: Bound
    width_out: Bound
    dtype: str


def read_shape(spec: Spec, headers: Headers) -> Shape:
    """Find each layer's tensors; raise ComposerError for all that do not fit."""
    assert spec.weights is not None
    config: StackConfig = spec.config
    layers, problems = _assign(config, headers.safetensors(spec.weights))
    widths = Widths(spec.weights)
    if not problems:
        for number, (step, tensors) in enumerate(zip(config.steps, layers, strict=True)):
            widths.add(number, step, tensors)
    files: dict[Location, None] = {}
    dtypes: dict[str, str] = {}
    for tensors in layers:
        for tensor in tensors.values():
            files[tensor.file] = None
            dtypes[tensor.dtype] = describe(tensor)
    if isinstance(spec.precision, str):
        dtype = SHORT[spec.precision]
    else:
        dtype = next(iter(dtypes), "f32")
        problems += _one_dtype(spec, dtypes)
    problems += widths.problems
    if not problems and widths.last is None:
        hint = "rows are joined and pooled without weights by the operators stack_frames and pool"
        problems.append(Problem("W248", "no layer of the stack has tensors", hint=hint))
    if problems:
        place = Place(str(spec.weights))
        raise ComposerError(replace(problem, place=place) for problem in problems)
    return Shape(tuple(files), tuple(layers), *widths.bounds(), dtype)


def _assign(
    config: StackConfig, index: TensorIndex
) -> tuple[list[dict[str, Tensor]], list[Problem]]:
    """Give each layer its tensors: `1.weight`, MLX's `layers.1.weight`, or by name.

    Every tensor under the prefix belongs to a layer; the others are those of other components.
    """
    stem = config.prefix + "." * (config.prefix != "" and not config.prefix.endswith("."))
    beneath = sorted(name for name in index if name.startswith(stem))
    if not config.names and any(name.startswith(f"{stem}layers.") for name in beneath):
        stem += "layers."
    layers: list[dict[str, Tensor]] = []
    missing: list[str] = []
    taken: set[str] = set()
    for step in config.steps:
        own = {}
        for part in PARTS.get(step.kind, ()):
            name = f"{stem}{step.module}.{part}"
            taken.add(name)
            if name in index:
                own[part] = index[name]
            elif part == "weight":
                missing.append(f"{name} ({step.kind})")
        layers.append(own)
    left = sorted(set(beneath) - taken)
    problems = []
    if missing:
        hint = f"the tensors are: {some(beneath or index)}"
        problems.append(Problem("W248", f"missing tensors: {some(missing)}", hint=hint))
    if left:
        expected = ", ".join(f"{step.module} {step.kind}" for step in config.steps)
        hint = f"the layers are: {expected}"
        problems.append(Problem("W248", f"tensors that no layer has: {some(left)}", hint=hint))
    return layers, problems


def _one_dtype(spec: Spec, dtypes: dict[str, str]) -> list[Problem]:
    hint = "say a precision: float32, float16 or bfloat16"
    if spec.precision is not None:
        return [Problem("W246", "a stack does not quantize", hint=hint)]
    if len(dtypes) > 1:
        what = f"the tensors are stored in {' and '.join(sorted(dtypes))}"
        return [Problem("W246", what, causes=tuple(dtypes.values()), hint=hint)]
    if odd := set(dtypes) - {*FLOATS}:
        return [Problem("W246", f"the tensors are stored in {odd.pop()}", hint=hint)]
    return []
