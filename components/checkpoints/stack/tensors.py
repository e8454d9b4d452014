"""What the tensors of a stack of layers say, checked against the layers that are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from composer.core.backend import SHORT
from composer.core.component import Bound, Spec
from composer.core.errors import ComposerError, Place, Problem, errors_of
from composer.core.suggest import some

from ..dequantized import dequantized_headers
from ..embedding_table import FLOATS, describe_tensor
from ..encoder_packing import packed_modules
from ..folder import folder_of, optional_config
from ..layout import LayoutChecker
from ..modules import Module
from .config import LayerStackConfig
from .layers import PARTS
from .widths import RowWidths

if TYPE_CHECKING:
    from composer.core.location import Location
    from composer.formats import Headers
    from composer.formats.safetensors import Tensor


@dataclass(frozen=True)
class ProjectorStack:
    """What the headers say of a stack: each layer's tensors, and the widths at its ends.

    `tensors` and what of them is `packed` are by the names of a layout in which a layer's name is
    its number.
    """

    files: tuple[Location, ...]
    layers: tuple[dict[str, Tensor], ...]
    width_in: Bound
    width_out: Bound
    dtype: str
    packed: Mapping[str, Module]
    notes: tuple[Problem, ...]

    @property
    def tensors(self) -> dict[str, Tensor]:
        return _numbered(self.layers)


def read_stack_shape(spec: Spec, headers: Headers) -> ProjectorStack:
    """Find each layer's tensors; raise ComposerError for all that do not fit."""
    assert spec.weights is not None
    config: LayerStackConfig = spec.config
    checker = LayoutChecker("stack", spec.weights, {})
    stored = headers.safetensors(spec.weights)
    values = optional_config(folder_of(spec.weights), headers)
    plain, schemes = dequantized_headers(checker, values, "", stored)
    layers, problems = _assign(config, plain)
    problems = [*checker.problems, *problems]
    widths = RowWidths(spec.weights)
    if not problems:
        for number, (step, tensors) in enumerate(zip(config.steps, layers, strict=True)):
            widths.add(number, step, tensors)
    files: dict[Location, None] = {}
    dtypes: dict[str, str] = {}
    for tensors in layers:
        for tensor in tensors.values():
            files[tensor.file] = None
            dtypes[tensor.dtype] = describe_tensor(tensor)
    if spec.dtype:
        dtype = SHORT[spec.dtype]
    else:
        dtype = next(iter(dtypes), "f32")
        problems += _one_dtype(dtypes)
    problems += widths.problems
    if not problems:
        checker.tensors = _numbered(layers)
        checker.places = {each.name: name for name, each in checker.tensors.items()}
        packed = packed_modules(checker, spec, stored, plain, schemes)
        problems += errors_of(checker.problems)
    if not problems and widths.last is None:
        hint = "rows are joined and pooled without weights by the operators stack_frames and pool"
        problems.append(Problem("W248", "no layer of the stack has tensors", hint=hint))
    if problems:
        place = Place(str(spec.weights))
        raise ComposerError(replace(problem, place=place) for problem in problems)
    return ProjectorStack(
        tuple(files), tuple(layers), *widths.bounds(), dtype, packed, tuple(checker.problems)
    )


def _numbered(layers: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    found = {}
    for number, parts in enumerate(layers):
        for part, tensor in parts.items():
            found[f"{number}.{part}"] = tensor
    return found


def _assign(
    config: LayerStackConfig, index: Mapping[str, Tensor]
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
            name = f"{stem}{step.module}.{part}" if step.module else f"{stem}{part}"
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


def _one_dtype(dtypes: dict[str, str]) -> list[Problem]:
    hint = "say a precision: float32, float16 or bfloat16"
    if len(dtypes) > 1:
        what = f"the tensors are stored in {' and '.join(sorted(dtypes))}"
        return [Problem("W246", what, causes=tuple(dtypes.values()), hint=hint)]
    if odd := set(dtypes) - {*FLOATS}:
        return [Problem("W246", f"the tensors are stored in {odd.pop()}", hint=hint)]
    return []
