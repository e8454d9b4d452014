"""What the tensors of a stack of layers say, checked against the layers that are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from composer.core.backend import SHORT
from composer.core.component import Bound, ComponentConfig, Spec
from composer.core.errors import ComposerError, Place, Problem
from composer.core.problems import Problems
from composer.core.suggest import some

from .embedding_table import FLOATS, describe

if TYPE_CHECKING:
    from composer.core.location import Location
    from composer.formats import Headers
    from composer.formats.safetensors import Tensor, TensorIndex

Layer = Literal["layer_norm", "rms_norm", "linear", "silu", "gelu", "gelu_tanh", "relu"]
PARTS: dict[str, tuple[str, ...]] = {
    "layer_norm": ("weight", "bias"),
    "rms_norm": ("weight",),
    "linear": ("weight", "bias"),
}


class StackConfig(ComponentConfig):
    """What the tensors do not say: the kinds of the layers, in order."""

    layers: list[Layer] = Field(
        min_length=1, max_length=64, description="The layers in order; sizes come from tensors."
    )
    layer_norm_eps: float = Field(1e-5, gt=0, lt=1, description="Epsilon of every layer_norm.")
    rms_norm_eps: float = Field(
        1e-5,
        gt=0,
        lt=1,
        description="Epsilon of every rms_norm: 1e-5 is MLX's default, 1e-6 that of many models.",
    )
    prefix: str = Field(
        "", description="What stands before the layers' numbers or names in the tensors' names."
    )
    names: list[str] = Field(
        default_factory=list,
        description="Names of the layers with weights, in order, where the tensors have no numbers",
        examples=[["norm", "up", "down"]],
    )

    @model_validator(mode="after")
    def _epsilon_belongs_to_a_norm(self) -> Self:
        for kind in ("layer_norm", "rms_norm"):
            if f"{kind}_eps" in self.model_fields_set and kind not in self.layers:
                raise ValueError(f"{kind}_eps is set but no layer is a {kind}")
        return self

    @model_validator(mode="after")
    def _one_name_each(self) -> Self:
        weighed = [kind for kind in self.layers if kind in PARTS]
        if self.names and len(self.names) != len(weighed):
            raise ValueError(
                f"names has {len(self.names)} names, but {len(weighed)} layers have weights: "
                f"{', '.join(weighed)}"
            )
        return self

    @property
    def modules(self) -> list[str]:
        """Return what each layer is called in the tensors' names: its name, or its number."""
        named = iter(self.names)
        return [
            next(named) if self.names and kind in PARTS else str(number)
            for number, kind in enumerate(self.layers)
        ]


@dataclass(frozen=True)
class Shape:
    """What the headers say of a stack: each layer's tensors, and the widths at its ends."""

    index: TensorIndex
    layers: tuple[dict[str, Tensor], ...]
    width_in: Bound
    width_out: Bound
    dtype: str


def read_shape(spec: Spec, headers: Headers) -> Shape:
    """Find each layer's tensors; raise ComposerError for all that do not fit."""
    assert spec.weights is not None
    index = headers.safetensors(spec.weights)
    config: StackConfig = spec.config
    layers, problems = _assign(config, index)
    chain = _Chain(spec.weights)
    if not problems:
        for number, (kind, tensors) in enumerate(zip(config.layers, layers, strict=True)):
            chain.add(number, kind, tensors)
    dtypes = {tensor.dtype: describe(tensor) for tensor in index.values()}
    if isinstance(spec.precision, str):
        dtype = SHORT[spec.precision]
    else:
        dtype = next(iter(dtypes), "f32")
        problems += _one_dtype(spec, dtypes)
    problems += chain.problems
    if not problems and not chain.ends:
        problems.append(Problem("W248", "no layer of the stack has tensors"))
    if problems:
        place = Place(str(spec.weights))
        raise ComposerError(
            Problem(each.code, each.message, place, each.causes, each.hint) for each in problems
        )
    return Shape(index, tuple(layers), *chain.bounds(), dtype)


def _assign(
    config: StackConfig, index: TensorIndex
) -> tuple[list[dict[str, Tensor]], list[Problem]]:
    """Give each layer its tensors: `1.weight`, MLX's `layers.1.weight`, or by name."""
    stem = config.prefix + "." * (config.prefix != "" and not config.prefix.endswith("."))
    if not config.names and any(name.startswith(f"{stem}layers.") for name in index):
        stem += "layers."
    layers: list[dict[str, Tensor]] = []
    missing: list[str] = []
    taken: set[str] = set()
    for module, kind in zip(config.modules, config.layers, strict=True):
        names = {part: f"{stem}{module}.{part}" for part in PARTS.get(kind, ())}
        layers.append({part: index[name] for part, name in names.items() if name in index})
        taken.update(names.values())
        if names and names["weight"] not in index:
            missing.append(f"{names['weight']} ({kind})")
    left = sorted(set(index) - taken)
    problems = []
    if missing:
        hint = f"the tensors are: {some(index)}"
        problems.append(Problem("W248", f"missing tensors: {some(missing)}", hint=hint))
    if left:
        expected = ", ".join(map(" ".join, zip(config.modules, config.layers, strict=True)))
        hint = f"the layers are: {expected}"
        problems.append(Problem("W248", f"tensors that no layer has: {some(left)}", hint=hint))
    return layers, problems


def _one_dtype(spec: Spec, dtypes: dict[str, str]) -> list[Problem]:
    hint = "say a precision: float32, float16 or bfloat16"
    if spec.precision is not None:
        return [Problem("W246", "mlx.stack does not quantize", hint=hint)]
    if len(dtypes) > 1:
        what = f"the tensors are stored in {' and '.join(sorted(dtypes))}"
        return [Problem("W246", what, causes=tuple(dtypes.values()), hint=hint)]
    if odd := set(dtypes) - {*FLOATS}:
        return [Problem("W246", f"the tensors are stored in {odd.pop()}", hint=hint)]
    return []


class _Chain:
    """Follow the width from layer to layer."""

    def __init__(self, location: Location) -> None:
        self.location = location
        self.problems = Problems()
        self.ends: list[tuple[int, int, Tensor]] = []

    def add(self, number: int, kind: str, tensors: dict[str, Tensor]) -> None:
        """Take the next layer in."""
        if not tensors:
            return
        weight = tensors["weight"]
        axes, expected = (2, "two axes") if kind == "linear" else (1, "one axis")
        if len(weight.shape) != axes:
            self.report(f"layer {number} is a {kind}, whose weight has {expected}", weight)
            return
        bias = tensors.get("bias")
        if bias and bias.shape != weight.shape[:1]:
            self.report(f"layer {number} has a bias that does not fit its weight", weight, bias)
        wide_in, wide_out = weight.shape[-1], weight.shape[0]
        if self.ends and self.ends[-1][1] != wide_in:
            _, before, witness = self.ends[-1]
            self.report(
                f"layer {number} ({kind}) takes width {wide_in}, but {before} comes in",
                weight,
                witness,
            )
        self.ends.append((wide_in, wide_out, weight))

    def report(self, message: str, *tensors: Tensor) -> None:
        self.problems.report("W247", message, *map(self.witness, tensors))

    def witness(self, tensor: Tensor) -> str:
        return f"{self.location}: {tensor.name} {list(tensor.shape)}"

    def bounds(self) -> tuple[Bound, Bound]:
        """Return the widths at both ends, a matrix being the better witness than a norm."""
        ends = [end for end in self.ends if len(end[2].shape) == 2] or self.ends
        first, last = ends[0], ends[-1]
        return Bound(first[0], self.witness(first[2])), Bound(last[1], self.witness(last[2]))
