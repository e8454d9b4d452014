"""A stack of layers, such as the projector between two embedding spaces."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from composer.core.calibration import Fold
from composer.core.call_signature import CALL, OUT, CallSignature, Derived
from composer.core.component import Facts, Spec, method
from composer.core.errors import ComposerError, Problem
from composer.core.family import Family
from composer.core.ports import parse_port, parse_ports
from composer.formats import Headers

from ..checkpoints.encoder_packing import encoder_packing
from ..checkpoints.file_stamps import require_unchanged
from ..checkpoints.finite import require_finite
from ..checkpoints.stack.config import LayerStackConfig
from ..checkpoints.stack.layers import GATED, Gate, Layer, Pool
from ..checkpoints.stack.tensors import ProjectorStack, read_stack_shape
from ..checkpoints.weights import WeightReader
from .blocks import Array, Blocks
from .encoder import network_facts
from .network import Network
from .watched import WatchedComponent

if TYPE_CHECKING:
    from composer.core.placement import Placement


def forward(layers: Sequence[tuple[Layer, int]], nn: Blocks, x: Array) -> Array:
    """Map rows [N, I] to rows [R, O] through layers, each with the width of what it gives.

    The weights of a layer have its number.
    """
    for number, (layer, width) in enumerate(layers):
        name = str(number)
        match layer.kind:
            case "linear":
                x = nn.linear(x, name)
            case "layer_norm":
                x = nn.layer_norm(x, name, layer.eps)
            case "rms_norm":
                x = nn.rms_norm(x, name, layer.eps)
            case "swiglu" | "geglu" | "geglu_tanh":
                x = _gated_activation(nn, GATED[layer.kind], layer.settings, x)
            case "stack_frames":
                fill = 0.0 if layer.settings.remainder == "pad" else None
                x = nn.reshape(nn.groups(x, layer.settings.by, fill), -1, width)
            case "pool":
                x = pool(nn, layer.settings, x)
            case activation:
                x = getattr(nn, activation)(x)
    return x


def _gated_activation(nn: Blocks, activation: str, settings: Gate, x: Array) -> Array:
    """Map rows of 2 W numbers to W: one half through an activation, times the other."""
    gate, other = nn.halves(x)
    if settings.gate == "second":
        gate, other = other, gate
    return getattr(nn, activation)(gate) * other


def pool(nn: Blocks, settings: Pool, x: Array) -> Array:
    """Map each group of rows to its mean, taken in float32, or to its largest numbers.

    A group at the end that is kept has no more rows than there are.
    """
    if settings.mode == "max":
        fill = -math.inf if settings.remainder == "keep" else None
        return nn.max(nn.groups(x, settings.by, fill), 1)
    fill = 0.0 if settings.remainder == "keep" else None
    total = nn.sum(nn.float32(nn.groups(x, settings.by, fill)), 1)
    if settings.remainder == "keep":
        return nn.like(total / nn.float32(nn.group_sizes(x, settings.by)), x)
    return nn.like(total / settings.by, x)


class Stack(WatchedComponent, Family, name="stack"):
    """Run rows through norms, linear layers and activations, sized by their tensors.

    Layers without tensors may join rows side by side (`stack_frames`), take their mean or maximum
    (`pool`), or multiply one half of a row by the other (`swiglu`, `geglu`). So many rows come out
    as the layers make of those that come in.
    """

    requires = frozenset({"weights"})
    accepts = frozenset({"precision"})
    Config = LayerStackConfig

    @classmethod
    def facts(cls, spec: Spec, headers: Headers | None) -> Facts:
        """Bind the widths I and O; every tensor belongs to a layer and every width chains."""
        layers, methods = spec.config.steps, None
        if any(map(Layer.divides, layers)):
            methods = {CALL: _divided_signature(layers)}
        if headers is None:
            return Facts(unknown=True, methods=methods)
        shape = read_stack_shape(spec, headers)
        dims = {"I": shape.width_in, "O": shape.width_out}
        made = network(spec, shape)
        facts = network_facts(made, cls.runs_on, dims, shape.notes, shape.files)
        assert spec.weights is not None
        packing = encoder_packing(spec.weights, made.tensors, made.packed)
        return replace(facts, methods=methods, packing=packing)

    @classmethod
    def load(cls, spec: Spec, facts: Facts, placement: Placement) -> Self:
        """Load the tensors and convert them to the precision that is asked for."""
        shape = read_stack_shape(spec, Headers())
        require_unchanged(facts)
        made = network(spec, shape)
        _require_finite(made, cls.computed_in(shape.dtype))
        return cls(cls.runs_on.compile(made, placement), spec.config.steps)

    def __init__(self, run: Callable[..., Any], layers: Sequence[Layer]) -> None:
        self.run = run
        self.layers = layers

    @method(x="N I", returns="N O")
    def __call__(self, x: Any) -> Any:
        """Map rows [N, I] to rows [N, O], or to fewer where layers join or pool them."""
        _require_groupable(self.layers, x.shape[0])
        return self.run(x)


def _divided_signature(layers: Sequence[Layer]) -> CallSignature:
    """Return the ports of a stack that gives fewer rows than it takes."""
    words = ", ".join(f"{layer.kind} by {layer.settings.by}" for layer in layers if layer.divides())
    return CallSignature(
        inputs={"x": parse_ports("N I")},
        returns={OUT: parse_port("R O")},
        lengths={"R": Derived("N", partial(_output_rows, layers), words)},
    )


def _output_rows(layers: Sequence[Layer], count: int) -> int:
    """Return how many rows come out for so many that come in."""
    for layer in layers:
        count = layer.rows(count)
    return count


def _require_groupable(layers: Sequence[Layer], count: int) -> None:
    """Raise R552 where rows are left over that a layer refuses, or where none come out."""
    for number, layer in enumerate(layers):
        if not layer.divides():
            continue
        by, found = layer.settings.by, layer.rows(count)
        where = f"layer {number} ({layer.kind}) takes {by} rows at a time"
        hint = None
        if layer.settings.remainder == "refuse" and count % by:
            hint = f"say under its 'remainder' what becomes of the last {count % by}"
        elif found == 0:
            hint = "give a longer clip, or another remainder"
        if hint:
            message = f"{where}, and {count} come in"
            raise ComposerError(Problem("R552", message, hint=hint))
        count = found


def network(spec: Spec, shape: ProjectorStack) -> Network:
    """Return the network of a stack; a layer's weights are named by its number."""
    steps: Sequence[Layer] = spec.config.steps
    layers: list[tuple[Layer, int]] = []
    width = shape.width_in.value
    for layer, parts in zip(steps, shape.layers, strict=True):
        width = parts["weight"].shape[0] if layer.kind == "linear" else layer.width(width)
        layers.append((layer, width))
    rows = "R" if any(map(Layer.divides, steps)) else "N"
    folds = []
    for number, (first, then) in enumerate(pairwise(steps)):
        if first.kind in ("layer_norm", "rms_norm") and then.kind == "linear":
            folds.append(Fold(str(number), (str(number + 1),)))
    return Network(
        name=str(spec.weights),
        forward=partial(forward, layers),
        inputs={"x": ("N", shape.width_in.value)},
        output=(rows, shape.width_out.value),
        tensors=shape.tensors,
        dtype=shape.dtype,
        packed=shape.packed,
        folds=tuple(folds),
    )


def _require_finite(made: Network, dtype: str) -> None:
    """Refuse weights that are NaN or infinite, or too large for the dtype."""
    reader = WeightReader(made.tensors, made.packed)
    for name, tensor in made.tensors.items():
        value = reader.read(name)
        if dtype == "f16":
            with np.errstate(over="ignore"):
                require_finite(tensor, value.astype(np.float16), dtype)
